//! What `framelane-bench` is made of, so that tests use the same camera, stamps and children.

pub mod api;
pub mod bare;
pub mod brokers;
pub mod camera;
pub mod chaos;
pub mod child;
pub mod clock;
pub mod coordinator;
pub mod crew;
pub mod demo;
pub mod dispatch;
pub mod fps;
pub mod life;
pub mod outsider;
pub mod pool;
pub mod proc;
pub mod relay;
pub mod report;
pub mod rig;
pub mod rival;
pub mod scale;
pub mod table;
pub mod tally;
pub mod wordcount;
pub mod words;
pub mod work;
