//! What a leader knows about each follower (nextIndex and matchIndex of the paper's Figure 2, and flow control).

mod arrears;
mod catch_up;
mod inflights;
mod tracker;

pub use arrears::Arrears;
pub use catch_up::CatchUp;
pub use inflights::Inflights;
pub use tracker::{ColdRead, Progress, ProgressState};
