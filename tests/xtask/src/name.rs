//! The option that names the lab.

use foghorn_lab::LabName;

/// Which lab.
#[derive(clap::Args)]
pub(crate) struct Name {
    /// The lab's name
    #[arg(long, global = true, env = LabName::VARIABLE, default_value = LabName::DEFAULT)]
    pub(crate) name: LabName,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use crate::Arguments;

    /// Each command that takes a lab's name.
    const COMMANDS: [&[&str]; 5] =
        [&["lab", "down"], &["lab", "up"], &["demo", "--exit"], &["kubectl"], &["helm"]];

    fn parse(command: &[&str], name: &str) -> Result<Arguments, clap::Error> {
        let (task, rest) = command.split_first().unwrap();
        Arguments::try_parse_from([&["cargo xtask", task, "--name", name], rest].concat())
    }

    #[test]
    fn a_path_is_refused_as_the_name_of_a_lab() {
        for command in COMMANDS {
            for path in ["", ".", "..", "/srv/lab", "a/b", "../lib"] {
                let error = parse(command, path).err().unwrap().to_string();
                assert!(error.contains("is not a lab's name"), "{command:?} {path}: {error}");
            }
            assert!(parse(command, "my-lab").is_ok(), "{command:?}");
        }
    }

    #[test]
    fn the_name_of_the_lab_is_read_from_a_variable_of_its_own() {
        let commands = Arguments::command();
        for [task, ..] in COMMANDS.map(|command| [command[0]]) {
            let arguments = commands.find_subcommand(task).unwrap().get_arguments();
            let variables: Vec<_> = arguments.filter_map(|argument| argument.get_env()).collect();
            assert_eq!(variables, ["FOGHORN_LAB"], "{task}");
        }
    }
}
