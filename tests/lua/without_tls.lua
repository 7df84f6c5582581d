-- A library without TLS refuses each URL that needs it, says why, and does everything else.
require("realtime")

local function refused(expected, answer, reason)
	assert(answer == false or answer == nil, tostring(answer))
	assert(reason:find(expected, 1, true) and reason:find("built without TLS", 1, true), reason)
end

local token = "/api/webhooks/1/secret"
refused("found rediss://, but", realtime.Configure({ redis = "rediss://:secret@127.0.0.1:1" }))
refused("config: cannot use tls_ca_file `ca.pem`", realtime.Configure({ tls_ca_file = "ca.pem" }))
refused("config: cannot use webhook_ca_file `ca.pem`", realtime.Configure({ webhook_ca_file = "ca.pem" }))
refused("config: webhook_url", realtime.AddHook("kill", { type = "discord", webhook_url = "https://discord.com" .. token, format = "{n}" }))
refused("config: url", realtime.AddHook("kill", { type = "http", url = "https://127.0.0.1:1" .. token }))
local secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
refused("config: secret: cannot be used", realtime.AddHook("kill", { type = "http", url = "http://127.0.0.1:1" .. token, secret = secret }))

assert(realtime.AddHook("kill", { type = "http", url = host.arg.web .. "/kill" }))
include("checks.lua").finish_after_posts(1)
