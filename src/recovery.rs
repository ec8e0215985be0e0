//! From where a job starts: afresh or from a checkpoint, the first time and after a failure. Used by the command line and by
//! applications that embed Thalweg.
//!
//! Invariants
//! - V1 what is refused leaves no trace: only a start that will be tried takes the job over from whoever runs it.
//! - V2 a restart goes on from what this process has completed last; before that, from where it was told to start.
//! - V3 a damaged checkpoint is passed over only if no output can be written twice by it.

use crate::session::{Error, Session};
use std::str::FromStr;
use thalweg_engine::checkpoint::adopt::adopt;
use thalweg_engine::checkpoint::{Archive, Checkpoint, CheckpointId, Complete, Manifest, Writer};
use thalweg_engine::clock::Clock;
use thalweg_engine::job::JobHandle;
use thalweg_engine::sink::JobInfo;
use thalweg_engine::{Graph, Job, NodeKind};

/// Where to start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the beginning; there must be no checkpoint.
    #[default]
    Fresh,
    /// The newest checkpoint, or the beginning if there is none.
    Auto,
    /// The newest checkpoint.
    Latest,
    /// This checkpoint.
    Id(CheckpointId),
    /// The newest checkpoint in another directory.
    Elsewhere(String),
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Start, String> {
        match text {
            "auto" => Ok(Start::Auto),
            "latest" => Ok(Start::Latest),
            _ if text.contains('/') => Ok(Start::Elsewhere(text.to_owned())),
            _ => text.parse().map(Start::Id).map_err(|_| {
                format!(
                    "`{text}` is none of auto, latest, a checkpoint such as 3-17, and the path or URL of a savepoint"
                )
            }),
        }
    }
}

/// A job under way.
pub struct Started {
    /// Its handle.
    pub job: JobHandle,
    /// The checkpoint that it goes on from.
    pub from: Option<CheckpointId>,
    /// What its owner should know.
    pub notes: Vec<String>,
}

/// Starts one job, as often as it takes.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    start: Start,
    allow_dropped_state: bool,
    /// The generation of the first attempt.
    first_generation: Option<u32>,
}

impl Recovery {
    /// `allow_dropped_state`: what a checkpoint holds and the job has no place for may be lost.
    pub fn new(start: Start, allow_dropped_state: bool) -> Recovery {
        Recovery { start, allow_dropped_state, first_generation: None }
    }

    /// Starts the job. Errors: `Refused` with a remedy, before anything is touched; what the storage says; what the engine says.
    pub fn start(&mut self, session: &Session, job: &thalweg_sql::Job) -> Result<Started, Error> {
        let settings = session.settings(job)?;
        let Some(url) = &settings.checkpoint_dir else {
            return match self.start {
                Start::Fresh => {
                    let job = Job::start(&job.graph, settings.job_options(), None)?;
                    Ok(Started { job, from: None, notes: vec![] })
                }
                _ => refused("--from needs a folder of checkpoints; add --set checkpoint.dir=PATH"),
            };
        };
        let archive = Archive::at(url)?;
        let mut notes = vec![];
        self.check(&archive.checkpoints()?, url)?;
        let elsewhere = match &self.start {
            Start::Elsewhere(url) => Some(Archive::at(url)?),
            _ => None,
        };
        // What would be refused afterwards must not have ended another run.
        let source = elsewhere.as_ref().unwrap_or(&archive);
        let first = self.restore(source, &source.checkpoints()?, &job.graph, false, &mut vec![])?;
        let origin = first.map(|(manifest, _)| manifest).filter(|_| elsewhere.is_some());
        let writer = Writer::begin(archive, origin.as_ref(), settings.checkpoint_retained, Clock::system())?;
        let first = *self.first_generation.get_or_insert(writer.generation());
        let ours: Vec<Complete> = writer.checkpoints().iter().filter(|c| c.id.generation >= first).cloned().collect();
        let from = match &elsewhere {
            _ if !ours.is_empty() => {
                let latest = Recovery { start: Start::Latest, ..self.clone() };
                latest.restore(writer.archive(), writer.checkpoints(), &job.graph, true, &mut notes)?
            }
            Some(source) => self.restore(source, &source.checkpoints()?, &job.graph, true, &mut notes)?,
            None => self.restore(writer.archive(), writer.checkpoints(), &job.graph, true, &mut notes)?,
        };
        let from = from.map(|(_, checkpoint)| checkpoint);
        let id = from.as_ref().map(|c| CheckpointId::of_epoch(c.epoch));
        let options = settings.job_options();
        let job = Job::start_durable(&job.graph, options, from.as_ref(), writer)?;
        Ok(Started { job, from: id, notes })
    }

    /// Whether what is there allows this start.
    fn check(&self, complete: &[Complete], url: &str) -> Result<(), Error> {
        let newest = complete.last();
        match (&self.start, newest) {
            _ if self.first_generation.is_some() => Ok(()),
            (Start::Fresh | Start::Elsewhere(_), Some(newest)) => refused(format!(
                "`{url}` holds checkpoints, the newest is {}; go on from it with --from auto, or choose another checkpoint.dir",
                newest.id
            )),
            (Start::Latest, None) => refused(format!("`{url}` holds no checkpoint; --from auto starts afresh then")),
            (Start::Id(id), _) if complete.iter().all(|c| c.id != *id) => {
                let known: Vec<String> = complete.iter().rev().take(5).map(|c| c.id.to_string()).collect();
                let known = if known.is_empty() { "none".into() } else { known.join(", ") };
                refused(format!("`{url}` holds no checkpoint {id}; it has {known}"))
            }
            _ => Ok(()),
        }
    }

    /// The checkpoint to start from, as the graph can take it up; `with_state`: also what is in files.
    fn restore(
        &self,
        archive: &Archive,
        complete: &[Complete],
        graph: &Graph,
        with_state: bool,
        notes: &mut Vec<String>,
    ) -> Result<Option<(Manifest, Checkpoint)>, Error> {
        let mut wanted: Vec<&Complete> = match &self.start {
            Start::Fresh => vec![],
            Start::Id(id) => complete.iter().filter(|c| c.id == *id).collect(),
            Start::Auto | Start::Latest | Start::Elsewhere(_) => complete.iter().collect(),
        };
        if wanted.is_empty() && matches!(self.start, Start::Elsewhere(_)) {
            return refused(format!("`{}` holds no checkpoint", archive.objects().url()));
        }
        while let Some(checkpoint) = wanted.pop() {
            let loaded = archive.manifest(checkpoint).and_then(|manifest| {
                let checkpoint = if with_state { archive.load(&manifest)? } else { manifest.checkpoint() };
                Ok((manifest, checkpoint))
            });
            match loaded {
                Ok((manifest, checkpoint)) => return Ok(Some((manifest, self.fit(checkpoint, graph, notes)?))),
                Err(e) if wanted.is_empty() || commits(graph) => {
                    let mut text = format!("checkpoint {} cannot be restored: {}", checkpoint.id, e.message());
                    if let Some(earlier) = wanted.last() {
                        let again = "the output since then is then written again";
                        text.push_str(&format!("; --from {} goes back to the one before, and {again}", earlier.id));
                    }
                    return refused(text);
                }
                Err(e) => notes.push(format!("checkpoint {} is passed over: {}", checkpoint.id, e.message())),
            }
        }
        Ok(None)
    }

    fn fit(&self, checkpoint: Checkpoint, graph: &Graph, notes: &mut Vec<String>) -> Result<Checkpoint, Error> {
        let id = CheckpointId::of_epoch(checkpoint.epoch);
        let adopted = adopt(checkpoint, graph).map_err(|e| Error::Refused(e.message().to_owned()))?;
        if adopted.dropped.is_empty() {
            return Ok(adopted.checkpoint);
        }
        let dropped = adopted.dropped.join(", ");
        if !self.allow_dropped_state {
            let text = format!("checkpoint {id} has what this job has no place for: {dropped}");
            return refused(format!("{text}; --allow-dropped-state goes on without it"));
        }
        notes.push(format!("dropped from checkpoint {id}: {dropped}"));
        Ok(adopted.checkpoint)
    }
}

/// Whether some sink shows rows by commits, which going back would repeat.
fn commits(graph: &Graph) -> bool {
    let job = &JobInfo::detached("any", 1);
    let has =
        |kind: &NodeKind| matches!(kind, NodeKind::Sink { factory, .. } if !matches!(factory.committer(job), Ok(None)));
    graph.nodes().iter().any(|n| has(&n.kind))
}

fn refused<T>(text: impl Into<String>) -> Result<T, Error> {
    Err(Error::Refused(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_named_or_paths() {
        assert_eq!("auto".parse(), Ok(Start::Auto));
        assert_eq!("3-17".parse(), Ok(Start::Id(CheckpointId { generation: 3, number: 17 })));
        assert_eq!("./kept".parse(), Ok(Start::Elsewhere("./kept".into())));
        let e = "newest".parse::<Start>().unwrap_err();
        assert!(e.contains("none of auto, latest"), "{e}");
    }
}
