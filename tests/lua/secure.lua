-- Events over `rediss://`, posts over `http://` and over `https://`, these signed with two secrets. The test names the
-- file of its authority in the settings.
require("realtime")
assert(realtime.AddHook("kill", "plain", { type = "http", url = host.arg.web }))
local secrets = { "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1u" }
assert(realtime.AddHook("kill", "secure", { type = "http", url = host.arg.secure, secret = secrets }))
local id, reason = realtime.AddHook("kill", { type = "http", url = "http://h/", secret = "x" })
assert(id == nil and reason:find("config: secret: does not begin", 1, true), reason)
include("checks.lua").finish_after_posts(2)
