//! An object store on loopback: moto, the server that imitates S3 for tests of AWS's own clients.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{python, skip};

/// How long the server may take to start.
const START: Duration = Duration::from_secs(60);

/// A server with one empty bucket, which ends with its value.
#[derive(Debug)]
pub struct Server {
    process: Child,
    port: u16,
}

impl Server {
    /// Starts a server, or says that the test is skipped where there is none.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start() -> Option<Self> {
        let python = python()?;
        let features = std::env::var("CS_FEATURES").unwrap_or_default();
        if !features.split(',').any(|feature| feature == "s3") {
            skip("the tools are built without the feature s3 (CS_FEATURES=s3 scripts/test)");
            return None;
        }
        // The port is free again when the server asks for it; nobody else is given it meanwhile.
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let process = Command::new(&python)
            .args(["-m", "moto.server", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // It writes a line for each request, which nobody would read.
            .stderr(Stdio::null())
            .spawn()
            .expect("moto");
        let mut server = Self { process, port };
        server.wait();
        let made = Command::new(&python)
            .args([
                "-c",
                "import boto3, sys; boto3.client('s3', endpoint_url=sys.argv[1], \
                 region_name='us-east-1', aws_access_key_id='k', aws_secret_access_key='s') \
                 .create_bucket(Bucket='bucket')",
                &server.endpoint(),
            ])
            .output()
            .expect("Python");
        let errors = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "no bucket: {errors}");
        Some(server)
    }

    /// Waits until it takes connections.
    fn wait(&mut self) {
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.process.try_wait().expect("the server's status");
            assert!(
                ended.is_none() && started.elapsed() < START,
                "moto did not start: scripts/test sets it up"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Returns the server's address.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns the beginning of a shell script: `$S` is a store in the bucket, `$O` the options
    /// that reach it, and the keys are in the environment.
    pub fn shell(&self) -> String {
        format!(
            "export AWS_ACCESS_KEY_ID=k AWS_SECRET_ACCESS_KEY=s
             S=s3://bucket/index
             O='--storage-option endpoint={} --storage-option allow_http=true \
             --storage-option region=us-east-1'\n",
            self.endpoint()
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
