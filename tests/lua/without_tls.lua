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

assert(realtime.AddHook("kill", { type = "http", url = host.arg.web .. "/kill" }))
local sent, heard
realtime.On("kill", function(data) heard = data.n end)
timer.Create("end", 0, 0, function()
	if realtime.Status() ~= "connected" then return end
	sent = sent or realtime.Emit("kill", { n = 7 })
	if heard and realtime.Stats().webhooks.delivered > 0 then
		assert(heard == 7)
		timer.Remove("end")
		print("1 passed, 0 failed")
		host.quit(0)
	end
end)
