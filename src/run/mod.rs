//! One command in a container of its own.
//!
//! A [`Run`] says which image and which command, as an image's config and a user have it; see the OCI
//! image specification, "Conversion to OCI Runtime Configuration". [`Run::start`] gets the image and
//! starts the container.
//!
//! ```no_run
//! use postroj::image::{Images, Reference};
//! use postroj::machine::Stdio;
//! use postroj::run::Run;
//!
//! # async fn example(images: &Images) -> Result<(), Box<dyn std::error::Error>> {
//! let run = Run {
//!     command: vec!["cat".to_owned(), "/etc/os-release".to_owned()],
//!     ..Run::of(Reference::load("debian-bookworm")?)
//! };
//! let (mut container, _config) = run.start(images, Stdio::inherit()?).await?;
//! let end = container.ended().await?;
//! println!("exit code {}", end.ending.code());
//! # Ok(())
//! # }
//! ```

use crate::image::{ImageConfig, ImageError, Images, PullOptions, ReadyImage, Reference};
use crate::machine::{
    Container, ContainerCommand, Isolation, MachineError, Process, Shape, Stdio, System,
};

/// A command to run in a container.
#[derive(Debug, Clone)]
pub struct Run {
    /// The image, which need not be one that boots unless it is to be booted.
    pub image: Reference,
    /// When its source is asked for it.
    pub pull: PullOptions,
    /// The command, or the arguments of the entry point; the image's own if it is empty.
    pub command: Vec<String>,
    /// What runs the command in place of the image's entry point; nothing does if it is empty.
    pub entrypoint: Option<Vec<String>>,
    /// What is added to the environment that the image has, as `NAME=VALUE`.
    pub env: Vec<String>,
    /// Where it starts, if not where the image says.
    pub working_dir: Option<String>,
    /// As whom it runs, if not as the image says.
    pub user: Option<String>,
    /// Rows and columns of a terminal of its own, if it gets one.
    pub terminal: Option<(u16, u16)>,
    /// The container's name, if it is to have one.
    pub name: Option<String>,
    /// How it is kept apart from the host.
    pub isolation: Isolation,
    /// What is particular about it.
    pub shape: Shape,
    /// The image's system, if it is booted before the command runs.
    pub system: Option<System>,
}

/// Where a command writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Why a command was not started.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The image could not be had.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The container could not be had.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// Neither the user nor the image names a command.
    #[error("{0} names no command, and none was given")]
    NoCommand(String),
}

impl RunError {
    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Image(error) => error.hint(),
            Self::Machine(error) => error.hint().map(str::to_owned),
            Self::NoCommand(_) => None,
        }
    }
}

impl Run {
    /// An image, run as it says itself.
    pub fn of(image: Reference) -> Self {
        Self {
            image,
            pull: PullOptions::default(),
            command: Vec::new(),
            entrypoint: None,
            env: Vec::new(),
            working_dir: None,
            user: None,
            terminal: None,
            name: None,
            isolation: Isolation::default(),
            shape: Shape::default(),
            system: None,
        }
    }

    /// Gets the image and starts the command on `stdio`; gives the container, and what the image says
    /// about running it.
    pub async fn start(
        &self,
        images: &Images,
        stdio: Stdio,
    ) -> Result<(Container, ImageConfig), RunError> {
        let image = self.pull(images).await?;
        let container = self.launch(&image, images, stdio).await?;
        Ok((container, image.config.clone()))
    }

    /// Gets the image.
    pub(crate) async fn pull(&self, images: &Images) -> Result<ReadyImage, ImageError> {
        let pull = PullOptions {
            as_is: self.system.is_none(),
            ..self.pull.clone()
        };
        images.pull(&self.image, &pull).await
    }

    /// Starts the command in an image that is there already.
    pub(crate) async fn launch(
        &self,
        image: &ReadyImage,
        images: &Images,
        stdio: Stdio,
    ) -> Result<Container, RunError> {
        let command = self.container(image, images)?;
        Ok(Container::start(command, stdio).await?)
    }

    /// What is started in an image that is there already.
    pub(crate) fn container(
        &self,
        image: &ReadyImage,
        images: &Images,
    ) -> Result<ContainerCommand, RunError> {
        let process = self
            .process(&image.config)
            .ok_or_else(|| RunError::NoCommand(self.image.to_string()))?;
        Ok(ContainerCommand {
            image: image.name.clone(),
            name: self.name.clone(),
            lowers: image.lowers.clone(),
            isolation: self.isolation.clone(),
            shape: self.shape.clone(),
            storage: images.storage().to_owned(),
            system: self.system,
            process,
        })
    }

    /// What is run of an image with that config; `None` if nobody names a command.
    fn process(&self, config: &ImageConfig) -> Option<Process> {
        let (entrypoint, default) = match &self.entrypoint {
            // The image's arguments are for its own entry point.
            Some(entrypoint) => (entrypoint, &Vec::new()),
            None => (&config.entrypoint, &config.cmd),
        };
        let command = if self.command.is_empty() {
            default
        } else {
            &self.command
        };
        let args: Vec<String> = entrypoint.iter().chain(command).cloned().collect();
        args.first()?;
        let mut env: Vec<String> = Vec::new();
        for set in config.env.iter().chain(&self.env) {
            let name = set.split_inclusive('=').next().unwrap_or_default();
            env.retain(|earlier| !earlier.starts_with(name));
            env.push(set.clone());
        }
        let or = |given: &Option<String>, config: &String| {
            given.clone().unwrap_or_else(|| config.clone())
        };
        Some(Process {
            args,
            env,
            working_dir: or(&self.working_dir, &config.working_dir),
            user: or(&self.user, &config.user),
            terminal: self.terminal,
            cap_drop: self.shape.cap_drop.clone(),
            cap_add: self.shape.cap_add.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(command: &[&str]) -> Run {
        Run {
            command: command.iter().map(ToString::to_string).collect(),
            ..Run::of(Reference::Catalogue("x".to_owned()))
        }
    }

    fn config() -> ImageConfig {
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        ImageConfig {
            entrypoint: texts(&["/entry"]),
            cmd: texts(&["default"]),
            env: texts(&["PATH=/bin", "A=1", "AB=2"]),
            working_dir: "/work".to_owned(),
            user: "www".to_owned(),
            ..ImageConfig::default()
        }
    }

    #[test]
    fn the_image_says_what_the_user_does_not() {
        let process = run(&[]).process(&config()).unwrap();
        assert_eq!(process.args, ["/entry", "default"]);
        assert_eq!((&*process.working_dir, &*process.user), ("/work", "www"));
        let process = run(&["given", "two"]).process(&config()).unwrap();
        assert_eq!(process.args, ["/entry", "given", "two"]);
    }

    #[test]
    fn another_entry_point_does_not_get_the_images_arguments() {
        let with = |entrypoint: &[&str], command| Run {
            entrypoint: Some(entrypoint.iter().map(ToString::to_string).collect()),
            ..run(command)
        };
        let process = with(&["/mine"], &[]).process(&config()).unwrap();
        assert_eq!(process.args, ["/mine"]);
        let process = with(&[], &["only"]).process(&config()).unwrap();
        assert_eq!(process.args, ["only"]);
        assert_eq!(with(&[], &[]).process(&config()), None);
    }

    #[test]
    fn a_variable_is_set_once() {
        let run = Run {
            env: vec!["A=3".to_owned()],
            ..run(&[])
        };
        let process = run.process(&config()).unwrap();
        assert_eq!(process.env, ["PATH=/bin", "AB=2", "A=3"]);
    }
}
