//! Writes what the fuzz corpus begins with into `fuzz/corpus`, over what has the same names there; for when
//! a decoder is added or changed.

use std::error::Error;
use std::fs;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (target, name, bytes) in framelane_models::fuzz::seeds() {
        fs::create_dir_all(corpus.join(target))?;
        fs::write(corpus.join(target).join(name), bytes)?;
        println!("{target}/{name}");
    }
    Ok(())
}
