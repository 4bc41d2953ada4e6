//! The stores that are asked, their models, and the way from a question to its hits.
//!
//! There is one embedding for each distinct model and one search for each store. Stores of one
//! model are searched as one: their candidates are ranked together. Those of different models are
//! ranked separately, and their hits merged by score. A search returns row ids and scores alone,
//! and `Store::take` reads columns of rows.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cs_common::metadata::{Model, Repo};
use cs_embed::{Embedder, Environment};
use cs_store::{Found, Location, Search, Store};

use crate::Error;
use crate::args::Mode;
use crate::hit::Hit;
use crate::like::Example;
use crate::place::{KEPT_COLUMNS, PLACE_COLUMNS, Place, RANK_COLUMNS};
use crate::profile::{Profile, Stage};
use crate::rank::{self, Candidate, Question};
use crate::request::Request;

/// Chunks that each side of a search brings for the ranking, at least.
const CANDIDATES: usize = 100;

/// Chunks that each side brings where a regular expression takes most of them away.
const GREP_CANDIDATES: usize = 1000;

/// Chunks of a name that are ranked.
const NAMED_CANDIDATES: usize = 1000;

/// Open stores.
pub(crate) struct Engine {
    profile: Profile,
    stores: Vec<OpenStore>,
    models: Vec<StoreModel>,
    here: PathBuf,
}

/// A store, and which of the models is its own.
pub(crate) struct OpenStore {
    pub(crate) path: PathBuf,
    pub(crate) store: Store,
    pub(crate) repos: Vec<Repo>,
    model: usize,
}

/// A model of stores, opened when a question needs it.
struct StoreModel {
    model: Model,
    embedder: OnceLock<Box<dyn Embedder>>,
}

/// A question's vectors, one for each model; none where nothing is searched by vector.
pub(crate) type Vectors = Vec<Option<Vec<f32>>>;

impl Engine {
    /// Opens stores; says of each that is incomplete that it is.
    ///
    /// # Errors
    /// Those of opening one.
    pub(crate) fn open(places: &[Location], here: &Path) -> Result<Self, Error> {
        let mut engine = Self {
            profile: Profile::start(),
            stores: Vec::new(),
            models: Vec::new(),
            here: here.to_owned(),
        };
        for place in places {
            let path = &place.path;
            let opened = engine.profile.time(Stage::Open, || {
                let store = Store::open(place)?;
                tell_incomplete(path, &store)?;
                let repos = store.repos()?;
                Ok::<_, Error>((store, repos))
            });
            let (store, repos) = opened?;
            let model = store.model();
            let known = engine.models.iter().position(|known| known.model == *model);
            let model = known.unwrap_or_else(|| {
                engine.models.push(StoreModel {
                    model: model.clone(),
                    embedder: OnceLock::new(),
                });
                engine.models.len() - 1
            });
            engine.stores.push(OpenStore {
                path: path.clone(),
                store,
                repos,
                model,
            });
        }
        Ok(engine)
    }

    /// Goes on to the newest versions of the stores.
    ///
    /// # Errors
    /// Those of reading them.
    pub(crate) fn refresh(&mut self) -> Result<(), Error> {
        for open in &mut self.stores {
            open.store.refresh()?;
        }
        Ok(())
    }

    /// Keeps in memory what each question needs to know of many rows.
    ///
    /// # Errors
    /// Those of reading a store.
    pub(crate) fn keep_columns(&mut self) -> Result<(), Error> {
        for open in &mut self.stores {
            open.store.keep(KEPT_COLUMNS)?;
        }
        Ok(())
    }

    /// Returns where the time went.
    pub(crate) fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Returns the stores, to which hits refer by their place.
    pub(crate) fn stores(&self) -> &[OpenStore] {
        &self.stores
    }

    /// Returns the vectors of several questions, embedded together.
    ///
    /// # Errors
    /// [`Error::Model`] if a model cannot be opened or fails.
    pub(crate) fn vectors(&self, requests: &[&Request]) -> Result<Vec<Vectors>, Error> {
        let mut vectors: Vec<Vectors> = vec![vec![None; self.models.len()]; requests.len()];
        let needed = |request: &Request| match request.mode {
            Mode::Text => false,
            Mode::Hybrid => !request.text.is_empty() && !request.is_name,
            Mode::Dense => !request.text.is_empty(),
        };
        let needing: Vec<usize> = (0..requests.len())
            .filter(|at| needed(requests[*at]))
            .collect();
        if needing.is_empty() {
            return Ok(vectors);
        }
        for (at, model) in self.models.iter().enumerate() {
            let prefix = &model.model.query_prefix;
            let texts: Vec<String> = needing
                .iter()
                .map(|question| format!("{prefix}{}", requests[*question].text))
                .collect();
            let embedded = self.profile.time(Stage::Embed, || model.embed(&texts))?;
            for (question, vector) in needing.iter().zip(embedded) {
                vectors[*question][at] = Some(vector);
            }
        }
        Ok(vectors)
    }

    /// Searches for a question whose vectors are known: all that was found, the best first, without
    /// its text.
    ///
    /// # Errors
    /// Those of reading a store, and [`Error::NoSuchLine`] for a line of no stored file.
    pub(crate) fn ranked(&self, request: &Request, vectors: &Vectors) -> Result<Vec<Hit>, Error> {
        let (vectors, example) = self.with_example(request, vectors)?;
        let question = Question::new(&request.text);
        let mut hits = Vec::new();
        for (model, vector) in vectors.iter().enumerate() {
            let candidates = self.candidates(request, &question, (model, vector.as_deref()))?;
            let order = || rank::order(&question, request.mode, candidates);
            hits.extend(self.profile.time(Stage::Rank, order));
        }
        if let Some((store, example)) = &example {
            hits.retain(|hit| (hit.store, hit.row) != (*store, example.row));
        }
        // Stable: of equal ones those of the store that was named first come first.
        hits.sort_by(|a, b| b.score.total_cmp(&a.score));
        Ok(hits)
    }

    /// Returns the code that similar code is looked for, if it is.
    ///
    /// # Errors
    /// Those of reading a store.
    pub(crate) fn example(&self, request: &Request) -> Result<Option<String>, Error> {
        let Some(like) = &request.like else {
            return Ok(None);
        };
        for open in &self.stores {
            if let Some(example) = like.find(&open.store, &open.repos, &self.here)? {
                return Ok(Some(example.content));
            }
        }
        Ok(None)
    }

    /// Puts the vectors of the code that similar code is looked for in the place of the question's,
    /// or between the two.
    fn with_example(
        &self,
        request: &Request,
        vectors: &Vectors,
    ) -> Result<(Vectors, Option<(usize, Example)>), Error> {
        let Some(like) = &request.like else {
            return Ok((vectors.clone(), None));
        };
        for (at, open) in self.stores.iter().enumerate() {
            let Some(example) = like.find(&open.store, &open.repos, &self.here)? else {
                continue;
            };
            let mut mixed = Vec::with_capacity(vectors.len());
            for (model, vector) in self.models.iter().zip(vectors) {
                let is_own = std::ptr::eq(model, &self.models[open.model]);
                let like = match is_own {
                    true => example.vector.clone(),
                    false => model.embed_document(&example.content)?,
                };
                mixed.push(Some(match vector {
                    Some(vector) => between(&like, vector),
                    None => like,
                }));
            }
            return Ok((mixed, Some((at, example))));
        }
        Err(Error::NoSuchLine(like.to_string()))
    }

    /// Returns what has the name that is all that is asked for: a search would tell of these rows
    /// only how much their text is like a name.
    fn named(&self, request: &Request, model: usize) -> Result<Vec<Candidate>, Error> {
        let mut candidates = Vec::new();
        let stores = self.stores.iter().enumerate();
        for (at, open) in stores.filter(|(_, open)| open.model == model) {
            let limit = NAMED_CANDIDATES.max(request.depth());
            let rows = self
                .profile
                .time(Stage::Text, || open.store.matching(&request.filter, limit))?;
            let places = self.profile.time(Stage::Rank, || {
                let places = open.store.take(&rows, &RANK_COLUMNS)?;
                Ok::<_, Error>(Place::all(&places))
            })?;
            candidates.extend(rows.into_iter().zip(places).map(|(row, place)| Candidate {
                place,
                ..Candidate::new(at, row)
            }));
        }
        Ok(candidates)
    }

    /// Searches the stores of a model.
    fn candidates(
        &self,
        request: &Request,
        question: &Question,
        (model, vector): (usize, Option<&[f32]>),
    ) -> Result<Vec<Candidate>, Error> {
        let least = match (&request.grep, request.mode) {
            (Some(_), _) => GREP_CANDIDATES,
            (None, Mode::Hybrid) => CANDIDATES,
            // One more, as the code that similar code is looked for is left out.
            (None, Mode::Dense | Mode::Text) => 1,
        };
        if request.is_name && request.mode == Mode::Hybrid {
            return self.named(request, model);
        }
        let is_dense = request.mode == Mode::Dense;
        let words = Some(question.search_words()).filter(|words| !is_dense && !words.is_empty());
        let words = words.map(|words| [&[words], &request.further[..]].concat().join(" "));
        let search = Search {
            vector,
            words: words.as_deref(),
            limit: least.max(request.depth() + 1),
            filter: &request.filter,
        };
        let mut candidates = Vec::new();
        for (at, open) in self.stores.iter().enumerate() {
            if open.model != model {
                continue;
            }
            let findings = open.store.search(&search)?;
            self.profile.add(Stage::Dense, findings.dense_time);
            self.profile.add(Stage::Text, findings.text_time);
            let first = candidates.len();
            let mut add = |found: &Found, set: fn(&mut Candidate, f32)| {
                let known = candidates[first..]
                    .iter_mut()
                    .find(|known: &&mut Candidate| known.row == found.row);
                match known {
                    Some(known) => set(known, found.score),
                    None => {
                        let mut new = Candidate::new(at, found.row);
                        set(&mut new, found.score);
                        candidates.push(new);
                    }
                }
            };
            for found in &findings.dense {
                add(found, |candidate, score| candidate.dense = Some(score));
            }
            for found in &findings.text {
                add(found, |candidate, score| candidate.text = Some(score));
            }
            let rows: Vec<u64> = candidates[first..].iter().map(|known| known.row).collect();
            let places = self.profile.time(Stage::Rank, || {
                let places = open.store.take(&rows, &RANK_COLUMNS)?;
                Ok::<_, Error>(Place::all(&places))
            })?;
            for (candidate, place) in candidates[first..].iter_mut().zip(places) {
                candidate.place = place;
            }
        }
        Ok(candidates)
    }

    /// Returns those of a question's hits that are to be given, and reads them; no more are read
    /// than are needed for it.
    ///
    /// # Errors
    /// Those of reading a store.
    pub(crate) fn kept(&self, request: &Request, mut hits: Vec<Hit>) -> Result<Vec<Hit>, Error> {
        // Scores of a second look are what it is about otherwise.
        if let Some(least) = request.min_score.filter(|_| request.rerank.is_none()) {
            hits.retain(|hit| hit.score >= least);
        }
        let Some(regex) = &request.grep else {
            hits.truncate(request.reach());
            hits.drain(..request.offset.min(hits.len()));
            self.read(&mut hits)?;
            return Ok(hits);
        };
        let mut kept = Vec::new();
        while !hits.is_empty() && kept.len() < request.reach() {
            let rest = hits.split_off(hits.len().min(CANDIDATES));
            self.read(&mut hits)?;
            kept.extend(hits.into_iter().filter(|hit| regex.is_match(&hit.content)));
            hits = rest;
        }
        kept.truncate(request.reach());
        kept.drain(..request.offset.min(kept.len()));
        Ok(kept)
    }

    /// Says that nothing was found, and which of the filters let nothing through.
    ///
    /// # Errors
    /// Those of reading a store.
    pub(crate) fn tell_no_hit(&self, request: &Request) -> Result<(), Error> {
        log::info!("no hit");
        for (name, filter) in request.filter.parts() {
            let mut is_there = false;
            for open in &self.stores {
                is_there |= !open.store.matching(&filter, 1)?.is_empty();
            }
            if !is_there {
                log::info!("nothing that is stored fits {name}");
            }
        }
        Ok(())
    }

    /// Reads what is printed of hits.
    fn read(&self, hits: &mut [Hit]) -> Result<(), Error> {
        for (at, open) in self.stores.iter().enumerate() {
            let mut own: Vec<&mut Hit> = hits.iter_mut().filter(|hit| hit.store == at).collect();
            if own.is_empty() {
                continue;
            }
            let rows: Vec<u64> = own.iter().map(|hit| hit.row).collect();
            let columns = [&PLACE_COLUMNS[..], &["content"]].concat();
            let batch = self
                .profile
                .time(Stage::Read, || open.store.take(&rows, &columns))?;
            let contents = crate::hit::texts(&batch, "content");
            for ((hit, place), content) in own.iter_mut().zip(Place::all(&batch)).zip(contents) {
                hit.place = place;
                hit.content = content;
            }
        }
        Ok(())
    }
}

impl StoreModel {
    fn embedder(&self) -> Result<&dyn Embedder, Error> {
        if let Some(embedder) = self.embedder.get() {
            return Ok(embedder.as_ref());
        }
        let embedder =
            cs_embed::open_for(&self.model, Environment::read()).map_err(Error::Model)?;
        Ok(self.embedder.get_or_init(|| embedder).as_ref())
    }

    fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, Error> {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        self.embedder()?.embed(&texts).map_err(Error::Model)
    }

    fn embed_document(&self, content: &str) -> Result<Vec<f32>, Error> {
        let text = format!("{}{content}", self.model.document_prefix);
        Ok(self.embed(&[text])?.pop().unwrap_or_default())
    }
}

/// Warns of a store that lacks files.
fn tell_incomplete(path: &Path, store: &Store) -> Result<(), Error> {
    if let Some(incomplete) = store.incomplete()? {
        log::warn!("{}: {}", path.display(), incomplete.sentence());
        if incomplete.ended() {
            let remedy = incomplete.remedy(path, store.model());
            log::warn!("complete it with: {remedy}");
        }
    }
    Ok(())
}

/// Returns the direction between two vectors, whatever their lengths.
fn between(a: &[f32], b: &[f32]) -> Vec<f32> {
    let length = |vector: &[f32]| {
        vector
            .iter()
            .map(|x| x * x)
            .sum::<f32>()
            .sqrt()
            .max(f32::MIN_POSITIVE)
    };
    let (a_length, b_length) = (length(a), length(b));
    a.iter()
        .zip(b)
        .map(|(a, b)| a / a_length + b / b_length)
        .collect()
}
