//! Recommendations for hosts told in a few figures.
