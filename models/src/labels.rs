//! The names of a model's classes.

use std::sync::Arc;

/// The names of a model's classes, by number. Cloning it counts references.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels(Arc<[Arc<str>]>);

impl Labels {
    /// More classes than this are taken for a mistake.
    pub const MAX: usize = 4096;

    /// The 80 classes of COCO, in the order that detectors trained on it use.
    pub fn coco() -> Self {
        Self(COCO.iter().map(|&name| Arc::from(name)).collect())
    }

    /// Checks a list of names.
    ///
    /// # Errors
    /// No names, too many, or an empty one.
    pub fn new(names: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let names: Vec<Arc<str>> =
            names.into_iter().take(Self::MAX + 1).map(|name| name.trim().into()).collect();
        match names.iter().position(|name| name.is_empty()) {
            Some(at) => Err(format!("label {at} is empty")),
            None if names.is_empty() => Err("there are no labels".to_owned()),
            None if names.len() > Self::MAX => Err(format!("there are more than {} labels", Self::MAX)),
            None => Ok(Self(names.into())),
        }
    }

    /// The name of a class, or `?` for a number that the model does not have.
    pub fn name(&self, class: u16) -> &str {
        self.0.get(usize::from(class)).map_or("?", |name| name)
    }

    /// The number of classes.
    #[allow(clippy::len_without_is_empty, reason = "there is at least one")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All names, by number.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(|name| &**name)
    }
}

#[rustfmt::skip]
const COCO: [&str; 80] = [
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard",
    "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_have_names_and_unknown_numbers_do_not_panic() {
        assert_eq!(Labels::coco().name(0), "person");
        assert_eq!(Labels::coco().name(7), "truck");
        assert_eq!(Labels::coco().name(u16::MAX), "?");
        assert!(Labels::new(vec![]).is_err());
        assert!(Labels::new(vec!["a".into(), " ".into()]).is_err());
        assert!(Labels::new(vec!["a".to_owned(); Labels::MAX + 1]).is_err());
    }
}
