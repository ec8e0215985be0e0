//! A broker of a test's own, which `.ci/kafka-broker` starts; without `THALWEG_TEST_KAFKA` there is none.

use std::path::Path;
use std::process::{Command, Stdio};
use thalweg_connectors::kafka::testing::Cluster;

/// A broker whose life the test decides.
pub struct Broker {
    dir: tempfile::TempDir,
    pub cluster: Cluster,
}

impl Broker {
    /// `None` where no real broker is to be had.
    pub fn start() -> Option<Broker> {
        if !Cluster::start().is_real() {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let address = launch(dir.path());
        Some(Broker { dir, cluster: Cluster::real(address) })
    }

    pub fn kill(&self) {
        assert!(script().arg("kill").arg(self.dir.path()).status().unwrap().success());
    }

    pub fn restart(&self) {
        assert_eq!(launch(self.dir.path()), self.cluster.bootstrap());
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = script().arg("stop").arg(self.dir.path()).status();
    }
}

fn script() -> Command {
    Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/kafka-broker"))
}

fn launch(dir: &Path) -> String {
    let out = script().arg("start").arg(dir).stderr(Stdio::inherit()).output().unwrap();
    assert!(out.status.success(), "the broker did not start");
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}
