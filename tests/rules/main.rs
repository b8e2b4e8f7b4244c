//! Every rule's answers and the verdict they add up to, from evidence made by hand.

mod any;
mod fixtures;
mod heap;
mod host;
mod hosts;
mod missing;
mod scene;
mod thresholds;
mod together;
mod verdicts;
mod words;
