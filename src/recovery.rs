//! From where a job starts: afresh or from a checkpoint, the first time and after a failure. Used by the command line and by
//! applications that embed Thalweg.
//!
//! Invariants
//! - V1 what is refused leaves no trace: only a start that will be tried takes the job over from whoever runs it.
//! - V2 a restart goes on from what this process has completed last; before that, from where it was told to start.
//! - V3 a damaged checkpoint or record is passed over only if no output can be written twice by it.
//! - V4 what allows a start is still so when the job is taken over: nothing was added to the sequence since it was read.

use crate::session::{Error, Session};
use std::str::FromStr;
use thalweg_engine::checkpoint::adopt::adopt;
use thalweg_engine::checkpoint::archive::{complete, runs};
use thalweg_engine::checkpoint::{
    Archive, Checkpoint, CheckpointId, Complete, Found, Manifest, TakeOver, Writer, unique_name,
};
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
                    "`{text}` is none of auto, latest, a checkpoint such as 3-17, and the path (./{text}) or URL of a savepoint"
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
#[derive(Debug)]
pub struct Recovery {
    start: Start,
    allow_dropped_state: bool,
    clock: Clock,
    /// What the generations of this process are known by.
    run: String,
}

impl Default for Recovery {
    fn default() -> Recovery {
        Recovery::new(Start::Fresh, false)
    }
}

impl Recovery {
    /// `allow_dropped_state`: what a checkpoint holds and the job has no place for may be lost.
    pub fn new(start: Start, allow_dropped_state: bool) -> Recovery {
        let clock = Clock::system();
        Recovery { start, allow_dropped_state, run: unique_name(&clock), clock }
    }

    /// Starts the job. Errors: `Refused` with a remedy, before anything is touched; what the storage says; what the engine says.
    pub fn start(&mut self, session: &Session, job: &thalweg_sql::Job) -> Result<Started, Error> {
        let settings = session.settings(job)?;
        settings.check_spill_dir()?;
        let Some(url) = &settings.checkpoint_dir else {
            return match self.start {
                Start::Fresh => {
                    let job = Job::start(&job.graph, settings.job_options(), None)?;
                    Ok(Started { job, from: None, notes: vec![] })
                }
                _ => refused("--from needs a folder of checkpoints; add --set checkpoint.dir=PATH"),
            };
        };
        let archive = Archive::with(url, &settings.s3)?;
        let mut notes = vec![];
        let (writer, from) = loop {
            let sequence = archive.sequence()?;
            let start = self.admit(&archive, &sequence)?;
            let elsewhere = match &start {
                Start::Elsewhere(url) => Some(Archive::with(url, &settings.s3)?),
                _ => None,
            };
            let source = elsewhere.as_ref().unwrap_or(&archive);
            let found = if elsewhere.is_some() { source.sequence()? } else { sequence.clone() };
            // What would be refused afterwards must not have ended another run.
            let first = self.restore(&start, source, &found, &job.graph, false, &mut vec![])?;
            let origin = first.map(|(manifest, _)| manifest).filter(|_| elsewhere.is_some());
            let (origin, retain) = (origin.as_ref(), settings.checkpoint_retained);
            let how = TakeOver { sequence: &sequence, origin, retain, run: &self.run };
            if let Some(writer) = Writer::begin(&archive, self.clock.clone(), how)? {
                break (writer, self.restore(&start, source, &found, &job.graph, true, &mut notes)?);
            }
        };
        let from = from.map(|(_, checkpoint)| checkpoint);
        let id = from.as_ref().map(|c| CheckpointId::of_epoch(c.epoch));
        let job = Job::start_durable(&job.graph, settings.job_options(), from.as_ref(), writer)?;
        Ok(Started { job, from: id, notes })
    }

    /// Where to start now, if what is there allows it.
    fn admit(&self, archive: &Archive, sequence: &[Found]) -> Result<Start, Error> {
        let (url, runs, complete) = (archive.objects().url(), runs(sequence), complete(sequence));
        if runs.values().any(|r| *r == self.run) && runs.values().next_back() != Some(&self.run) {
            return refused(format!(
                "another run has taken over the job in `{url}` since this one failed; this one ends"
            ));
        }
        let is_ours = |c: &Complete| runs.get(&c.id.generation) == Some(&self.run);
        let start = if complete.iter().any(is_ours) { Start::Latest } else { self.start.clone() };
        match (&start, complete.last()) {
            (Start::Fresh | Start::Elsewhere(_), Some(newest)) => {
                let newest = format!("the newest is {}", newest.id);
                let remedy = "go on from it with --from auto, or choose another checkpoint.dir";
                return refused(format!("`{url}` holds checkpoints, {newest}; {remedy}"));
            }
            (Start::Fresh | Start::Elsewhere(_), None) => {
                if let Some(gap) = archive.gap(sequence)? {
                    let remedy = "bring the file back from a copy, or choose another checkpoint.dir";
                    return refused(format!("`{url}` held checkpoints: {gap}; {remedy}"));
                }
            }
            (Start::Latest, None) if archive.gap(sequence)?.is_none() => {
                return refused(format!("`{url}` holds no checkpoint; --from auto starts afresh then"));
            }
            (Start::Id(id), _) if complete.iter().all(|c| c.id != *id) => {
                let known: Vec<String> = complete.iter().rev().take(5).map(|c| c.id.to_string()).collect();
                let known = if known.is_empty() { "none".into() } else { known.join(", ") };
                return refused(format!("`{url}` holds no checkpoint {id}; it has {known}"));
            }
            _ => {}
        }
        Ok(start)
    }

    /// Errors: `Refused` if the newest checkpoint may be missing and going on without it could write output twice.
    fn check_whole(
        &self,
        archive: &Archive,
        sequence: &[Found],
        graph: &Graph,
        notes: &mut Vec<String>,
    ) -> Result<(), Error> {
        let Some(gap) = archive.gap(sequence)? else { return Ok(()) };
        let url = archive.objects().url();
        match complete(sequence).last() {
            None => refused(format!(
                "no checkpoint in `{url}` can be read: {gap}; bring the file back from a copy, or choose another checkpoint.dir \
                 to start afresh"
            )),
            Some(newest) if commits(graph) => refused(format!(
                "`{url}` may have held a later checkpoint than {id}: {gap}; bring the file back from a copy, or --from {id} goes \
                 back to that one, and the output since then is then written again",
                id = newest.id
            )),
            Some(_) => {
                notes.push(format!("a later checkpoint may be missing: {gap}"));
                Ok(())
            }
        }
    }

    /// The checkpoint to start from, as the graph can take it up; `with_state`: also what is in files.
    fn restore(
        &self,
        start: &Start,
        archive: &Archive,
        sequence: &[Found],
        graph: &Graph,
        with_state: bool,
        notes: &mut Vec<String>,
    ) -> Result<Option<(Manifest, Checkpoint)>, Error> {
        let complete = complete(sequence);
        let mut wanted: Vec<&Complete> = match start {
            Start::Fresh => vec![],
            Start::Id(id) => {
                let newest = complete.last().filter(|c| c.id != *id && commits(graph));
                notes.extend(newest.map(|c| format!("goes back from {} to {id}: output since is written again", c.id)));
                complete.iter().filter(|c| c.id == *id).collect()
            }
            Start::Auto | Start::Latest | Start::Elsewhere(_) => {
                self.check_whole(archive, sequence, graph, notes)?;
                complete.iter().collect()
            }
        };
        if wanted.is_empty() && matches!(start, Start::Elsewhere(_)) {
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
