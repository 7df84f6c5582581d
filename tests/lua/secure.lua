-- Events over `rediss://`, posts over `http://` and `https://`. The test names the file of its authority in the settings.
require("realtime")
assert(realtime.AddHook("kill", "plain", { type = "http", url = host.arg.web }))
assert(realtime.AddHook("kill", "secure", { type = "http", url = host.arg.secure }))
include("checks.lua").finish_after_posts(2)
