-- A new owner's first five minutes: the test has put the README's file into lua/autorun/server, and before it one that notes
-- the first `require` and the end of the self-test. This script types the README's commands, and tells how long all took. The
-- test reads the words on the console.
local state = host.arg.state
local since = {}
local function reached(name) since[name] = since[name] or (SysTime() - first_require) * 1000 end

realtime.On("player:kill", "test", function(kill, _, meta)
	assert(meta.own and kill.victim)
	reached("heard")
end)
host.command(host.arg.platform)
host.command(host.arg.emit)
realtime.Set("five:minutes", "kept")
realtime.Get("five:minutes", function(value)
	assert(value == "kept")
	reached("read")
end)

local asked, events, deadline = false, nil, host.mono() + 60
timer.Create("five minutes", 0, 0, function()
	local stats = realtime.Stats()
	if stats.webhooks.delivered > 0 then reached("posted") end
	if stats.files.delivered > 0 and not asked then
		asked = true
		realtime.ReadEventLog("logs/kills.log", {}, function(found) events = found end)
		host.command("realtime_selftest")
	end
	local done = since.heard and since.read and since.posted and events and selftest_ended
	if not done and host.mono() < deadline then return end
	timer.Remove("five minutes")
	host.command("realtime_status")
	local fine = done and #events == 1 and host.errors() == 0 and realtime.Status() == state
	local kb = host.resources().rss_kb
	if fine then
		print(string.format("%s, ms since the first require: callback of On %.0f, value read back %.0f, post on Discord %.0f", state,
			since.heard, since.read, since.posted))
		print(string.format("%s, kB of memory of the server: %s before the first require, %s now", state, tostring(first_kb), tostring(kb)))
	end
	print(fine and "1 passed, 0 failed" or "0 passed, 1 failed", util.TableToJSON(since), events and #events)
	host.quit(fine and 0 or 1)
end)
