//! Writes what the fuzz corpus begins with into `fuzz/corpus`, over what has the same names there; for when
//! a decoder is added or changed. Keys and tokens are made anew, so files change although nothing else did.

use std::error::Error;
use std::fs;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let scratch = tempfile::tempdir()?;
    for (target, name, bytes) in framelane_wire::fuzz::seeds(scratch.path()) {
        fs::create_dir_all(corpus.join(target))?;
        fs::write(corpus.join(target).join(name), bytes)?;
        println!("{target}/{name}");
    }
    Ok(())
}
