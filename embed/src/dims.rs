//! Vectors cut short, of models whose first numbers are good vectors on their own (Matryoshka
//! representation learning, Kusupati et al., 2022).

use cs_common::metadata::Model;

use crate::{Embedder, Error, Prepared};

/// Makes an embedder of the first `dims` numbers of another one's vectors, which have length 1
/// again where they had it before.
///
/// # Errors
/// [`Error::Dims`] if there are not as many, or none is asked for.
pub(crate) fn cut(embedder: Box<dyn Embedder>, dims: usize) -> Result<Box<dyn Embedder>, Error> {
    let whole = embedder.model();
    if dims == whole.dim {
        return Ok(embedder);
    }
    if dims == 0 || dims > whole.dim {
        return Err(Error::Dims {
            id: whole.id.clone(),
            wanted: dims,
            found: whole.dim,
        });
    }
    let model = Model {
        dim: dims,
        ..whole.clone()
    };
    Ok(Box::new(Cut { embedder, model }))
}

/// Cuts vectors to a model's dimensions, and gives them the length 1 if it has such.
pub(crate) fn shorten(vectors: &mut [Vec<f32>], model: &Model) {
    for vector in vectors {
        vector.truncate(model.dim);
        let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
        if model.normalized && length > 0.0 {
            vector.iter_mut().for_each(|value| *value /= length);
        }
    }
}

struct Cut {
    embedder: Box<dyn Embedder>,
    model: Model,
}

impl Embedder for Cut {
    fn model(&self) -> &Model {
        &self.model
    }

    fn window(&self) -> usize {
        self.embedder.window()
    }

    fn cache_key(&self) -> Result<Option<String>, Error> {
        self.embedder.cache_key()
    }

    fn take_tokens(&self) -> u64 {
        self.embedder.take_tokens()
    }

    fn prepare(&self, texts: Vec<String>) -> Result<Prepared, Error> {
        self.embedder.prepare(texts)
    }

    fn run(&self, texts: Prepared) -> Result<Vec<Vec<f32>>, Error> {
        let mut vectors = self.embedder.run(texts)?;
        shorten(&mut vectors, &self.model);
        Ok(vectors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ModelSpec, open};

    fn model(dims: Option<usize>) -> Result<Box<dyn Embedder>, Error> {
        open(&ModelSpec {
            id: "builtin".to_owned(),
            dims,
            ..ModelSpec::default()
        })
    }

    #[test]
    fn the_first_numbers_have_length_one_again() {
        let (whole, short) = (model(None).unwrap(), model(Some(64)).unwrap());
        assert_eq!(short.model().dim, 64);
        assert_eq!(short.model().sha256, whole.model().sha256);
        let texts = ["read a file", "fn main() {}"];
        let (whole, short) = (whole.embed(&texts).unwrap(), short.embed(&texts).unwrap());
        for (whole, short) in whole.iter().zip(&short) {
            let length = whole[..64].iter().map(|v| v * v).sum::<f32>().sqrt();
            assert_eq!(short.len(), 64);
            for (whole, short) in whole.iter().zip(short) {
                assert!((whole / length - short).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn more_numbers_than_there_are_cannot_be_had() {
        let dim = model(None).unwrap().model().dim;
        for wanted in [0, dim + 1] {
            let message = model(Some(wanted)).err().unwrap().to_string();
            assert!(message.contains(&format!("has {dim}")), "{message}");
        }
    }
}
