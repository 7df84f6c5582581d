//! Where settings come from, and which of two wins: defaults < `Configure` < `garrysmod/cfg/realtime.json` < environment.
//! The operator has the last word over addons. Pure: it is given the texts, and keeps them to resolve them again.

use std::collections::BTreeMap;

use crate::config::{Config, ConfigError, OPTIONS, environment_name};

/// Every source of settings of this process.
pub struct Sources {
    defaults: Config,
    /// What scripts asked for, by option, as JSON. The last `Configure` of an option counts.
    configured: BTreeMap<String, serde_json::Value>,
    /// Name and text of the operator's file.
    file: Option<(String, String)>,
    /// Variable and text.
    environment: BTreeMap<String, String>,
}

impl Sources {
    /// The operator's sources are read once: `file` is its name and text, `lookup` knows the environment.
    pub fn new(defaults: Config, file: Option<(String, String)>, lookup: impl Fn(&str) -> Option<String>) -> Sources {
        let variables = OPTIONS.iter().map(|row| environment_name(row.name));
        let environment = variables.filter_map(|name| lookup(&name).map(|text| (name, text))).collect();
        Sources { defaults, configured: BTreeMap::new(), file, environment }
    }

    /// Takes the options of a script, all or none: `text` is a JSON object.
    pub fn configure(&mut self, text: &str) -> Result<(), Vec<ConfigError>> {
        let errors = self.defaults.clone().apply_json(Sources::CONFIGURE, text);
        if !errors.is_empty() {
            return Err(errors);
        }
        if let Ok(serde_json::Value::Object(options)) = serde_json::from_str(text) {
            self.configured.extend(options);
        }
        Ok(())
    }

    /// The settings in force, and what is wrong with the operator's sources.
    pub fn resolve(&self) -> (Config, Vec<ConfigError>) {
        let mut config = self.defaults.clone();
        // Each was checked when it came.
        let configured = self.configured.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let mut errors = config.apply_json(Sources::CONFIGURE, &serde_json::Value::Object(configured).to_string());
        if let Some((name, text)) = &self.file {
            errors.extend(config.apply_json(name, text));
        }
        errors.extend(config.apply_environment(|name| self.environment.get(name).cloned()));
        (config, errors)
    }

    const CONFIGURE: &str = "Configure";
}
