//! How the states of a text's tokens become its vector.

use super::spec::Dense;

/// How the vectors of a text's tokens become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Pooling {
    /// Their mean.
    #[default]
    Mean,
    /// That of the first token.
    Cls,
    /// That of the last token.
    Last,
    /// The greatest of each number.
    Max,
}

impl Pooling {
    /// All of them.
    const ALL: [Self; 4] = [Self::Mean, Self::Cls, Self::Last, Self::Max];

    /// Returns the word for it in a stream's metadata.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Cls => "cls",
            Self::Last => "last",
            Self::Max => "max",
        }
    }

    /// Returns the pooling of a word.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|pooling| pooling.name() == name)
    }

    /// Pools the states of a text, `hidden` numbers a token; a text has at least one token.
    pub(crate) fn pool(self, states: &[f32], hidden: usize) -> Vec<f32> {
        let mut tokens = states.chunks_exact(hidden);
        match self {
            Self::Cls => states[..hidden].to_vec(),
            Self::Last => states[states.len() - hidden..].to_vec(),
            Self::Mean => {
                // Wider, so that thousands of tokens do not round each other away.
                let mut sum = vec![0.0_f64; hidden];
                let count = tokens.len() as f64;
                for token in tokens {
                    for (sum, value) in sum.iter_mut().zip(token) {
                        *sum += f64::from(*value);
                    }
                }
                sum.iter().map(|value| (value / count) as f32).collect()
            }
            Self::Max => {
                let mut greatest = tokens.next().unwrap_or_default().to_vec();
                for token in tokens {
                    for (greatest, value) in greatest.iter_mut().zip(token) {
                        *greatest = greatest.max(*value);
                    }
                }
                greatest
            }
        }
    }
}

/// What follows pooling: maps, length 1, fewer dimensions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    /// Maps of the pooled vector, in their order.
    pub(crate) projections: Vec<Projection>,
    /// Whether vectors are brought to length 1.
    pub(crate) normalize: bool,
    /// How many numbers of a vector are kept, if not all.
    pub(crate) dims: Option<usize>,
}

/// A map of the pooled vector.
#[derive(Clone, Debug)]
pub(crate) struct Projection {
    /// Its weights.
    pub(crate) map: Dense,
    /// Whether the hyperbolic tangent follows.
    pub(crate) tanh: bool,
}

impl Projection {
    fn apply(&self, vector: &[f32]) -> Vec<f32> {
        let rows = self.map.weight.chunks_exact(vector.len());
        let product = |row: &[f32]| row.iter().zip(vector).map(|(a, b)| a * b).sum::<f32>();
        let mut made: Vec<f32> = rows.map(product).collect();
        for (value, shift) in made.iter_mut().zip(self.map.bias.iter().flatten()) {
            *value += shift;
        }
        if self.tanh {
            made.iter_mut().for_each(|value| *value = value.tanh());
        }
        made
    }
}

impl Head {
    /// Returns how many numbers a vector has, of pooled states of `hidden`.
    pub(crate) fn dim(&self, hidden: usize) -> usize {
        let whole = self
            .projections
            .last()
            .map_or(hidden, |projection| projection.map.outputs);
        self.dims.map_or(whole, |dims| dims.min(whole))
    }

    /// Tells whether nothing follows pooling.
    pub(crate) fn is_empty(&self) -> bool {
        self.projections.is_empty() && !self.normalize
    }

    /// Checks that the maps fit pooled states of `hidden` numbers, and each other.
    ///
    /// # Errors
    /// Says which map takes vectors of another size.
    pub(crate) fn check(&self, hidden: usize) -> Result<(), String> {
        let mut size = hidden;
        for Projection { map, .. } in &self.projections {
            let inputs = map.weight.len() / map.outputs;
            if inputs != size {
                return Err(format!("a Dense module takes {inputs} numbers, not {size}"));
            }
            size = map.outputs;
        }
        Ok(())
    }

    /// Makes a text's vector of its pooled state.
    pub(crate) fn finish(&self, pooled: Vec<f32>) -> Vec<f32> {
        let maps = self.projections.iter();
        let mut vector = maps.fold(pooled, |vector, projection| projection.apply(&vector));
        vector.truncate(self.dim(vector.len()));
        if self.normalize {
            let norm = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
            // The smallest norm of torch.nn.functional.normalize.
            let norm = norm.max(1e-12);
            vector.iter_mut().for_each(|value| *value /= norm);
        }
        vector
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pooling_takes_what_it_says() {
        let states = [1.0, 5.0, 3.0, -1.0, 2.0, 2.0];
        for (pooling, expected) in [
            (Pooling::Mean, [2.0, 2.0]),
            (Pooling::Cls, [1.0, 5.0]),
            (Pooling::Last, [2.0, 2.0]),
            (Pooling::Max, [3.0, 5.0]),
        ] {
            assert_eq!(pooling.pool(&states, 2), expected, "{pooling:?}");
            assert_eq!(Pooling::from_name(pooling.name()), Some(pooling));
        }
    }

    #[test]
    fn a_head_maps_then_cuts_then_normalises() {
        let map = Dense {
            weight: vec![3.0, 0.0, 0.0, 4.0, 1.0, 1.0],
            outputs: 3,
            bias: Some(vec![0.0, 0.0, 9.0]),
        };
        let head = Head {
            projections: vec![Projection { map, tanh: false }],
            normalize: true,
            dims: Some(2),
        };
        assert_eq!(head.dim(2), 2);
        assert_eq!(head.finish(vec![1.0, 1.0]), [0.6, 0.8]);
    }
}
