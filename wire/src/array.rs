//! Rows of numbers, as numpy and its kin keep them: a small head with type and shape, and the raw body.

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::task::{Payload, PayloadError};

/// The most dimensions: numpy's own limit has been 32 for most of its life.
const MOST_DIMENSIONS: usize = 32;

/// The type of each element, under numpy's names. On the wire all are little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum DType {
    Bool,
    Int8,
    Int16,
    Int32,
    Int64,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    Float16,
    Float32,
    Float64,
    Complex64,
    Complex128,
}

impl DType {
    /// All of them.
    pub const ALL: [DType; 14] = [
        DType::Bool,
        DType::Int8,
        DType::Int16,
        DType::Int32,
        DType::Int64,
        DType::UInt8,
        DType::UInt16,
        DType::UInt32,
        DType::UInt64,
        DType::Float16,
        DType::Float32,
        DType::Float64,
        DType::Complex64,
        DType::Complex128,
    ];

    /// The name, as on the wire.
    pub fn name(self) -> &'static str {
        match self {
            DType::Bool => "bool",
            DType::Int8 => "int8",
            DType::Int16 => "int16",
            DType::Int32 => "int32",
            DType::Int64 => "int64",
            DType::UInt8 => "uint8",
            DType::UInt16 => "uint16",
            DType::UInt32 => "uint32",
            DType::UInt64 => "uint64",
            DType::Float16 => "float16",
            DType::Float32 => "float32",
            DType::Float64 => "float64",
            DType::Complex64 => "complex64",
            DType::Complex128 => "complex128",
        }
    }

    /// The type of this name, if there is one.
    pub fn of_name(name: &str) -> Option<DType> {
        DType::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::Bool | DType::Int8 | DType::UInt8 => 1,
            DType::Int16 | DType::UInt16 | DType::Float16 => 2,
            DType::Int32 | DType::UInt32 | DType::Float32 => 4,
            DType::Int64 | DType::UInt64 | DType::Float64 | DType::Complex64 => 8,
            DType::Complex128 => 16,
        }
    }
}

/// An array in C order: the last index runs fastest, and nothing lies between the elements.
///
/// ```
/// # use framelane_wire as wire;
/// use wire::Array;
///
/// let array = Array::of(&[2, 3], &[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0])?;
/// assert_eq!(array.to_vec::<f32>(), Some(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
/// assert_eq!(array.to_vec::<u8>(), None, "that is not its type");
/// # Ok::<_, wire::PayloadError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    dtype: DType,
    shape: Vec<usize>,
    body: Bytes,
}

/// [`Payload::Head`] of an [`Array`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArrayHead {
    /// The type of each element.
    pub dtype: DType,
    /// How many there are along each dimension.
    pub shape: Vec<u64>,
}

impl ArrayHead {
    /// Bytes of the body that belongs to it. None: more than memory can hold, or too many dimensions.
    pub(crate) fn bytes(&self) -> Option<usize> {
        if self.shape.len() > MOST_DIMENSIONS {
            return None;
        }
        // An axis without elements makes the whole empty, however long the others claim to be; but those
        // must be numbers that an index can have.
        let axes = self.shape.iter().map(|&n| usize::try_from(n).ok());
        axes.chain([Some(self.dtype.size())])
            .try_fold((1usize, false), |(bytes, empty), n| match n? {
                0 => Some((bytes, true)),
                n => Some((bytes.checked_mul(n)?, empty)),
            })
            .map(|(bytes, empty)| if empty { 0 } else { bytes })
    }
}

impl Array {
    /// An array over bytes that are there already; they are not copied.
    ///
    /// # Errors
    /// [`PayloadError::Body`] when the body is not as long as type and shape say, or there are more than 32
    /// dimensions.
    pub fn new(dtype: DType, shape: &[usize], body: Bytes) -> Result<Self, PayloadError> {
        Self::join(ArrayHead { dtype, shape: shape.iter().map(|&n| n as u64).collect() }, body)
    }

    /// An array of a copy of these elements.
    ///
    /// # Errors
    /// [`PayloadError::Body`] when there are not as many elements as the shape says.
    pub fn of<T: Element>(shape: &[usize], elements: &[T]) -> Result<Self, PayloadError> {
        let mut body = BytesMut::with_capacity(elements.len() * T::DTYPE.size());
        elements.iter().for_each(|&element| element.put(&mut body));
        Self::new(T::DTYPE, shape, body.freeze())
    }

    /// The type of each element.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// How many elements there are along each dimension; none at all for a single number.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements as bytes. They begin wherever the message put them: at no particular multiple.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// A copy of the elements; none if they are of another type.
    pub fn to_vec<T: Element>(&self) -> Option<Vec<T>> {
        (self.dtype == T::DTYPE).then(|| self.body.chunks_exact(T::DTYPE.size()).map(T::get).collect())
    }
}

impl Payload for Array {
    type Head = ArrayHead;

    fn split(self) -> (ArrayHead, Bytes) {
        let shape = self.shape.into_iter().map(|n| n as u64).collect();
        (ArrayHead { dtype: self.dtype, shape }, self.body)
    }

    fn join(head: ArrayHead, body: Bytes) -> Result<Self, PayloadError> {
        if head.bytes() != Some(body.len()) {
            let (name, shape, came) = (head.dtype.name(), &head.shape, body.len());
            return Err(PayloadError::body(match head.bytes() {
                Some(bytes) => format!("an array of {name} {shape:?} has {bytes} bytes, and {came} came"),
                None => format!("no array of {name} can have this shape: {:.100}", format!("{shape:?}")),
            }));
        }
        // It fits: `bytes` has looked at each of them.
        let shape = head.shape.into_iter().map(|n| n as usize).collect();
        Ok(Array { dtype: head.dtype, shape, body })
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A Rust type that can be an element of an [`Array`].
pub trait Element: sealed::Sealed + Copy {
    /// What it is called in Python.
    const DTYPE: DType;
    /// Appends it.
    #[doc(hidden)]
    fn put(self, out: &mut BytesMut);
    /// Reads it from exactly its size of bytes.
    #[doc(hidden)]
    fn get(bytes: &[u8]) -> Self;
}

macro_rules! elements {
    ($($rust:ty => $dtype:ident),+ $(,)?) => {$(
        impl sealed::Sealed for $rust {}
        impl Element for $rust {
            const DTYPE: DType = DType::$dtype;
            fn put(self, out: &mut BytesMut) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn get(bytes: &[u8]) -> Self {
                <$rust>::from_le_bytes(bytes.try_into().expect("chunks have the element's size"))
            }
        }
    )+};
}

elements! {
    i8 => Int8, i16 => Int16, i32 => Int32, i64 => Int64,
    u8 => UInt8, u16 => UInt16, u32 => UInt32, u64 => UInt64,
    f32 => Float32, f64 => Float64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{decode, encode};

    #[test]
    fn an_array_survives_the_trip_and_its_body_is_shared() {
        let body = Bytes::from(vec![7; 12]);
        let array = Array::new(DType::UInt16, &[2, 3], body.clone()).unwrap();
        let message = encode(array.clone()).unwrap();
        assert_eq!(message.body.as_ptr(), body.as_ptr());
        let back = decode::<Array>(message).unwrap();
        assert_eq!(
            (back.dtype(), back.shape(), back.body().as_ptr()),
            (DType::UInt16, &[2, 3][..], body.as_ptr())
        );
        assert_eq!(back.to_vec::<u16>().unwrap(), [0x0707; 6]);
    }

    #[test]
    fn the_head_is_what_other_languages_are_told() {
        let head = encode(Array::of(&[2], &[1u8, 2]).unwrap()).unwrap().head;
        assert_eq!(&head[..], b"\xa2\x65dtype\x65uint8\x65shape\x81\x02");
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for dtype in DType::ALL {
            assert_eq!(DType::of_name(dtype.name()), Some(dtype));
            let head = crate::framing::encode_cbor(&dtype, 32).unwrap();
            assert_eq!(&head[1..], dtype.name().as_bytes());
        }
        assert_eq!(DType::of_name("object"), None);
    }

    #[test]
    fn a_body_that_does_not_fit_is_refused() {
        let fits =
            |shape: &[usize], len: usize| Array::new(DType::Float32, shape, vec![0; len].into()).is_ok();
        assert!(fits(&[2, 2], 16) && fits(&[], 4) && fits(&[0, 5], 0));
        assert!(!fits(&[2, 2], 15) && !fits(&[], 0) && !fits(&[0], 4));
        assert!(!fits(&[usize::MAX, 2], 8) && !fits(&[1; 33], 4) && fits(&[1; 32], 4));
        assert!(!fits(&[usize::MAX, 2, 0], 0), "no array can be indexed that far");
    }
}
