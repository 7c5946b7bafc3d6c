//! The one complaint about a buffer.

/// A buffer whose length does not go with the picture's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the buffer holds {found} elements where the picture's size needs {expected}")]
pub struct BufferSize {
    /// What the size needs.
    pub expected: usize,
    /// What there is.
    pub found: usize,
}

impl BufferSize {
    pub(crate) fn check(expected: usize, found: usize) -> Result<(), Self> {
        if expected == found { Ok(()) } else { Err(Self { expected, found }) }
    }
}
