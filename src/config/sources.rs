//! The sources of settings and their order: defaults < `Configure` < `garrysmod/cfg/realtime.json` < environment.
//! The operator's file and environment overrule the settings that addons make with `Configure`.
//! Pure: the caller hands over the texts, and [`Sources`] keeps them so that it can resolve them again after a change.

use crate::config::options::{ByOption, OPTIONS, OptionRow, environment_name, row_of};
use crate::config::text::{self, Member};
use crate::config::{CONFIGURE, Config, ConfigError, ENVIRONMENT, sentences};

/// Variables that begin like this belong to the tests of this project.
const TEST_PREFIX: &str = "REALTIME_TEST_";
/// Variables that belong to the shell scripts of this project.
const SCRIPT_VARIABLES: [&str; 7] = [
    "REALTIME_AWAY_SECONDS",
    "REALTIME_CHAOS_SECONDS",
    "REALTIME_IN_NAMESPACE",
    "REALTIME_KILLS",
    "REALTIME_MAP_CHANGES",
    "REALTIME_REDIS_IN",
    "REALTIME_REDIS_PORTS",
];

/// The operator's settings, as `threads/settings.rs` found them.
#[derive(Clone, Default)]
pub struct Operator {
    /// Name and text of the file, or why it cannot be read. `None`: there is no file.
    pub(crate) file: Option<(String, Result<String, String>)>,
    /// The variables whose names begin with `REALTIME_`, and their values. `None`: the value is not UTF-8.
    pub(crate) variables: Vec<(String, Option<String>)>,
    /// The variables of `PROXY_VARIABLES` that are set, and their values. `None`: the value is not UTF-8.
    pub(crate) proxies: Vec<(String, Option<String>)>,
    /// Sentences for the log and the self-test, such as the hint that a file has a wrong name and is not read.
    pub(crate) hints: Vec<String>,
}

/// Every source of settings of this process.
#[derive(Clone)]
pub struct Sources {
    defaults: Config,
    /// The options that scripts set with `Configure`. The last `Configure` of an option counts.
    configured: ByOption,
    operator: Operator,
}

impl Sources {
    /// Sources with the name and text of the operator's file. `lookup` returns the value of an environment variable.
    /// Only the variables of known options are looked up.
    pub fn new(defaults: Config, file: Option<(String, String)>, lookup: impl Fn(&str) -> Option<String>) -> Sources {
        let file = file.map(|(name, text)| (name, Ok(text)));
        let names = OPTIONS.iter().map(|row| environment_name(row.name));
        let variables = names.filter_map(|name| lookup(&name).map(|text| (name, Some(text)))).collect();
        Sources::of(defaults, Operator { file, variables, ..Operator::default() })
    }

    /// Sources with all settings of the operator, unknown variables included, and none of scripts yet.
    pub fn of(defaults: Config, operator: Operator) -> Sources {
        Sources { defaults, configured: ByOption::default(), operator }
    }

    /// The same scripts' settings under newly read settings of the operator.
    pub(crate) fn with(&self, operator: Operator) -> Sources {
        Sources { operator, ..self.clone() }
    }

    /// Takes the options of a script, all or none; `text` is a JSON object. Returns the options that the operator
    /// overrules, with the operator's source. An overruled option is kept: it takes effect when the operator's setting
    /// goes away.
    pub fn configure(&mut self, text: &str) -> Result<Vec<(&'static str, String)>, Vec<ConfigError>> {
        let errors = self.defaults.clone().apply_json(CONFIGURE, text);
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut overruled = Vec::new();
        // `apply_json` has just parsed the same text without an error.
        for (name, value) in text::members(text).unwrap_or_default() {
            if let (Some(row), Ok(value)) = (row_of(&name), value) {
                overruled.extend(self.operator_of(row).map(|source| (row.name, source)));
                self.configured.set(row.name, value);
            }
        }
        Ok(overruled)
    }

    /// The operator's source that sets this option.
    fn operator_of(&self, row: &OptionRow) -> Option<String> {
        let is_it = |name: &str| row_of(name).is_some_and(|found| found.name == row.name);
        if self.variables().iter().any(|(name, _)| is_it(name)) {
            return Some(ENVIRONMENT.to_owned());
        }
        let (name, text) = self.operator.file.as_ref()?;
        let members = text::members(text.as_ref().ok()?).ok()?;
        members.iter().any(|(name, _)| is_it(name)).then(|| name.clone())
    }

    /// The settings in force, and the errors in the operator's sources. `Config::complaints` holds them as sentences.
    pub fn resolve(&self) -> (Config, Vec<ConfigError>) {
        let mut config = self.defaults.clone();
        // `configure` has checked each of them.
        let configured = self.configured.iter().map(|(name, text)| ((*name).to_owned(), Ok(text.clone())));
        let mut errors = config.apply_all(CONFIGURE, configured.collect());
        config.file = self.operator.file.as_ref().map(|(name, _)| name.clone());
        match &self.operator.file {
            Some((name, Ok(text))) => errors.extend(config.apply_json(name, text)),
            Some((name, Err(found))) => errors.extend(config.reject_source(name, found.clone())),
            None => {}
        }
        errors.extend(config.apply_all(ENVIRONMENT, self.variables()));
        config.complaints = sentences(&errors);
        config.take_proxies(&self.operator.proxies);
        config.complaints.extend(self.operator.hints.clone());
        (config, errors)
    }

    /// The variables that set an option. A hosting panel passes a field that nobody filled in as an empty variable:
    /// empty ones are skipped. A shell or an `env` file may leave quotes around a value: they are removed. A name in
    /// capitals is the documented form, so it comes last and overrules the same name in lower case.
    fn variables(&self) -> Vec<Member> {
        let mut variables: Vec<Member> = Vec::new();
        for (name, text) in &self.operator.variables {
            let text = text.as_deref().map(unquoted);
            let is_ours = !name.starts_with(TEST_PREFIX) && !SCRIPT_VARIABLES.contains(&name.as_str());
            if is_ours && !is_made_by_containers(name, text) && text != Some("") {
                let no_text = || "its value is not UTF-8 text: write it again".to_owned();
                variables.push((name.clone(), text.map(str::to_owned).ok_or_else(no_text)));
            }
        }
        variables.sort_by_key(|(name, _)| name.bytes().all(|byte| !byte.is_ascii_lowercase()));
        variables
    }
}

/// Whether Docker or Kubernetes made this variable for a neighbour container whose name begins with `realtime`, such as
/// `REALTIME_PORT=tcp://10.0.0.9:80`:
/// <https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables>.
/// A link of Docker also makes `REALTIME_NAME=/game/realtime` and `REALTIME_ENV_PATH=...`:
/// <https://docs.docker.com/engine/network/links/>.
fn is_made_by_containers(name: &str, text: Option<&str>) -> bool {
    let is_address = text.is_some_and(|text| text.starts_with("tcp://") || text.starts_with("udp://"));
    let of_port = |(_, rest): (&str, &str)| rest.ends_with("_TCP") || rest.contains("_TCP_") || rest.contains("_UDP");
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.split_once("_PORT_").is_some_and(of_port)
        || name.ends_with("_PORT") && is_address
        || name.contains("_ENV_")
        || name.ends_with("_NAME") && text.is_some_and(|text| text.starts_with('/')) && row_of(name).is_none()
}

/// The text without blanks and without a pair of quotes around it.
pub(super) fn unquoted(text: &str) -> &str {
    let text = text.trim();
    let inner = ['"', '\''].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote));
    inner.unwrap_or(text).trim()
}
