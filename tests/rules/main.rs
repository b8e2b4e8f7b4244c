//! Every rule's answers and the verdict they add up to, from evidence made by hand.

mod advice;
mod any;
mod commands;
mod contradicted;
mod filter;
mod fixtures;
mod floods;
mod heap;
mod host;
mod hosts;
mod lasting;
mod lasts;
mod late;
mod missing;
mod nat;
mod outside;
mod refusals;
mod sampled;
mod scene;
mod thresholds;
mod together;
mod verdicts;
mod ways;
mod window;
mod words;
