//! What `framelane-bench` is made of, so that tests use the same camera, stamps and children.

pub mod api;
pub mod camera;
pub mod child;
pub mod demo;
pub mod fps;
pub mod life;
pub mod report;
pub mod rig;
