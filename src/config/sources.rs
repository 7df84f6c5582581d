//! Where settings come from, and which of two wins: defaults < `Configure` < `garrysmod/cfg/realtime.json` < environment.
//! The operator has the last word over addons. Pure: it is given the texts, and keeps them to resolve them again.

use std::collections::BTreeMap;

use crate::config::{Config, ConfigError, ENVIRONMENT, OPTIONS, Row, environment_name, row_of, sentences, text};

/// Variables of this beginning, and these, are for the scripts and tests of this project.
const OF_TESTS: &str = "REALTIME_TEST_";
const OF_SCRIPTS: [&str; 7] = [
    "REALTIME_AWAY_SECONDS",
    "REALTIME_CHAOS_SECONDS",
    "REALTIME_IN_NAMESPACE",
    "REALTIME_KILLS",
    "REALTIME_MAP_CHANGES",
    "REALTIME_REDIS_IN",
    "REALTIME_REDIS_PORTS",
];

/// What the operator says.
#[derive(Clone, Default)]
pub struct Operator {
    /// Name and text of the file, or why it cannot be read.
    pub(crate) file: Option<(String, Result<String, String>)>,
    /// The variables whose names begin with `REALTIME_`, and their text. `None`: it is no text.
    pub(crate) variables: Vec<(String, Option<String>)>,
    /// What else is to be said, such as a file with a name that is not read.
    pub(crate) hints: Vec<String>,
}

/// Every source of settings of this process.
#[derive(Clone)]
pub struct Sources {
    defaults: Config,
    /// What scripts asked for, by option. The last `Configure` of an option counts.
    configured: BTreeMap<&'static str, String>,
    operator: Operator,
}

impl Sources {
    /// `file` is the name and text of the operator's file, `lookup` knows the environment.
    pub fn new(defaults: Config, file: Option<(String, String)>, lookup: impl Fn(&str) -> Option<String>) -> Sources {
        let file = file.map(|(name, text)| (name, Ok(text)));
        let names = OPTIONS.iter().map(|row| environment_name(row.name));
        let variables = names.filter_map(|name| lookup(&name).map(|text| (name, Some(text)))).collect();
        Sources::of(defaults, Operator { file, variables, hints: Vec::new() })
    }

    pub fn of(defaults: Config, operator: Operator) -> Sources {
        Sources { defaults, configured: BTreeMap::new(), operator }
    }

    /// The same scripts, and what the operator says now.
    pub(crate) fn with(&self, operator: Operator) -> Sources {
        Sources { operator, ..self.clone() }
    }

    /// Takes the options of a script, all or none: `text` is a JSON object. Those among them that the operator has set,
    /// and where: they are kept, and have no effect now.
    pub fn configure(&mut self, text: &str) -> Result<Vec<(&'static str, String)>, Vec<ConfigError>> {
        let errors = self.defaults.clone().apply_json(CONFIGURE, text);
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut overruled = Vec::new();
        // It was understood just now.
        for member in text::members(text).unwrap_or_default() {
            if let (Some(row), Ok(value)) = (row_of(&member.name), member.value) {
                overruled.extend(self.operator_of(row).map(|source| (row.name, source)));
                self.configured.insert(row.name, value);
            }
        }
        Ok(overruled)
    }

    /// The operator's source that sets this option.
    fn operator_of(&self, row: &Row) -> Option<String> {
        let is_it = |name: &str| row_of(name).is_some_and(|found| found.name == row.name);
        if self.variables().any(|(name, _)| is_it(&name)) {
            return Some(ENVIRONMENT.to_owned());
        }
        let (name, text) = self.operator.file.as_ref()?;
        let members = text::members(text.as_ref().ok()?).ok()?;
        members.iter().any(|member| is_it(&member.name)).then(|| name.clone())
    }

    /// The settings in force, and what is wrong with the operator's sources.
    pub fn resolve(&self) -> (Config, Vec<ConfigError>) {
        let mut config = self.defaults.clone();
        // Each was checked when it came.
        let configured = self.configured.iter().map(|(name, text)| ((*name).to_owned(), Ok(text.clone())));
        let mut errors = config.apply_all(CONFIGURE, configured);
        match &self.operator.file {
            Some((name, Ok(text))) => errors.extend(config.apply_json(name, text)),
            Some((name, Err(found))) => errors.extend(config.apply_none(name, found.clone())),
            None => {}
        }
        errors.extend(config.apply_all(ENVIRONMENT, self.variables()));
        config.complaints = sentences(&errors);
        config.complaints.extend(self.operator.hints.clone());
        (config, errors)
    }

    /// The variables that say something, those in capitals last. Panels leave empty what nobody filled in; a shell or an
    /// `env` file may leave its quotes.
    fn variables(&self) -> impl Iterator<Item = (String, Result<String, String>)> {
        let mut variables: Vec<(String, Result<String, String>)> = Vec::new();
        for (name, text) in &self.operator.variables {
            let text = text.as_deref().map(unquoted);
            let is_ours = !name.starts_with(OF_TESTS) && !OF_SCRIPTS.contains(&name.as_str());
            if is_ours && !is_of_containers(name, text) && text != Some("") {
                let no_text = || "its value is no UTF-8 text: write it anew".to_owned();
                variables.push((name.clone(), text.map(str::to_owned).ok_or_else(no_text)));
            }
        }
        variables.sort_by_key(|(name, _)| name.bytes().all(|byte| !byte.is_ascii_lowercase()));
        variables.into_iter()
    }
}

/// Whether Docker or Kubernetes made this variable for a neighbour whose name begins with `realtime`:
/// <https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables>.
fn is_of_containers(name: &str, text: Option<&str>) -> bool {
    let is_address = text.is_some_and(|text| text.starts_with("tcp://") || text.starts_with("udp://"));
    let of_port = |(_, rest): (&str, &str)| rest.ends_with("_TCP") || rest.contains("_TCP_") || rest.contains("_UDP");
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.split_once("_PORT_").is_some_and(of_port)
        || name.ends_with("_PORT") && is_address
}

/// Without blanks, and without a pair of quotes around it.
fn unquoted(text: &str) -> &str {
    let text = text.trim();
    let inner = ['"', '\''].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote));
    inner.unwrap_or(text).trim()
}

const CONFIGURE: &str = "Configure";
