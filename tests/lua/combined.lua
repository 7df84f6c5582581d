-- Features of hooks together: a condition with a signed batch, groups of conditions with a forum, a name that Discord
-- refuses, dates on the owner's clock, and a hook on `*` that must not see a self-test. The test plays Discord.
local saw, real_print = include("checks.lua").capture_print()
require("realtime")
local web = host.arg.web
local secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
-- A busy machine must not make readers fail.
assert(realtime.Configure({ timezone_offset = "+14:00", sync_timeout_ms = 1000 }))
local today = os.date("!%Y-%m-%d", os.time() + 14 * 3600)

local heard = {}
assert(realtime.On("*", "all", function(_, channel) heard[#heard + 1] = channel end))
assert(realtime.AddHook("*", "log", { type = "file", path = "logs/{date}/{channel}.log" }))
assert(realtime.AddHook("kill", "even", {
	type = "conditional", condition = function(kill) return kill.n % 2 == 0 end,
	actions = {
		{ type = "http", url = web .. "/batch", batch = { max = 3, seconds = 300 }, secret = secret,
			format = '{"n":{n},"on":"{date}"}' },
		{ type = "counter", key = "damage:{date}", by = "-{n}" },
	},
}))
assert(realtime.AddHook("kill", "forum", {
	type = "discord", webhook_url = web .. "/api/webhooks/1/hunter2", username = "{name}",
	thread_name = "{name} on {date}", embed = { title = "{n}", color = "{color}" },
	where = { map = "de_dust", any_of = { { n = 1 }, { ["not"] = { name = { contains = "o" } } } } },
}))
assert(realtime.AddHook("kill", "status", {
	type = "discord_status", webhook_url = web .. "/api/webhooks/2/hunter2?thread_id=7", username = "Zoe of {map}",
	interval = 10, embed = { title = "{map} {date}", color = "#ff8800", description = "{events}" },
	event_format = "{n} {date}", where = { any_of = { { n = 1 }, { n = 2 } } },
}))
for n, name in ipairs({ "Zoe", "Bo", "Al", "Ro", "Bo", "Jo" }) do
	assert(realtime.Emit("kill", { n = n, name = name, map = "de_dust", color = "#00ff0" .. n }))
end
host.command("realtime_selftest")

local deadline = host.mono() + 60
timer.Create("check", 0, 0, function()
	local stats = realtime.Stats()
	local events = realtime.ReadEventLog("logs/" .. today .. "/kill.log")
	local _, folders = file.Find("logs/*", "DATA")
	local files = file.Find("logs/" .. today .. "/*.log", "DATA")
	local damage = realtime.Get("damage:" .. today)
	-- Three of the batch, two of the forum and the status message. All is asked again until the deadline, because a reader
	-- without callback may time out on a busy machine, and a count of the hook may still be on its way.
	local fine = stats.webhooks.delivered == 6 and saw("[realtime] self-test passed")
		and table.concat(heard, " ") == "kill kill kill kill kill kill" and events and #events == 6
		and #folders == 1 and #files == 1 and damage == "-12" and stats.raw == 0 and stats.panics == 0
	if not fine and host.mono() < deadline then return end
	timer.Remove("check")
	real_print(fine and "1 passed, 0 failed" or "0 passed, 1 failed", table.concat(heard, " "), events and #events, #files,
		damage, util.TableToJSON(stats))
	host.quit(fine and 0 or 1)
end)
