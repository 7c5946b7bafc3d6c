//! The subcommands of `framelane`.

mod doctor;
mod models;
mod serve;
mod stop;
mod workers;

pub use doctor::Doctor;
pub use models::Models;
pub use serve::Serve;
pub use stop::Stop;
pub use workers::Workers;
