-- Checks the events of tests/lua/chaos_emitter.lua: each number arrives at most once and in order, and the module reports
-- the missing ones.
require("realtime")
local MAP_SECONDS = 11
local first, last, heard = host.load("first"), host.load("last") or 0, host.load("heard") or 0
local told, overflow, wrong = host.load("told") or 0, host.load("overflow") or 0, host.load("wrong") or 0
local map_began, done = host.mono(), false
local said_ready = host.load("ready")

local function keep()
	for key, value in pairs({ first = first or false, last = last, heard = heard, told = told, overflow = overflow, wrong = wrong }) do
		host.store(key, value)
	end
end

realtime.On("n", "audit", function(data, _, meta)
	if meta.server ~= "emitter" or data.n <= last then wrong = wrong + 1 end
	first = first or data.n
	last, heard = data.n, heard + 1
	if data.last then done = true end
end)
hook.Add("RealtimeGap", "audit", function(channel, server, missed)
	if channel == "n" and server == "emitter" then told = told + missed end
end)
hook.Add("RealtimeOverflow", "audit", function(_, dropped) overflow = overflow + dropped end)

local next_start = 0
timer.Create("watch", 0, 0, function()
	local now = host.mono()
	if not said_ready then
		if realtime.Status() ~= "connected" then return end
		said_ready = true
		host.store("ready", true)
		host.store("threads", host.resources().threads)
		host.store("fds", host.resources().fds)
		print("ready")
	end
	if now > next_start then
		next_start = now + 0.2
		realtime.Emit(done and "done" or "start", { go = true })
	end
	if not done then
		if now - map_began > MAP_SECONDS then
			map_began = math.huge
			keep()
			host.changelevel("gm_next")
		end
		return
	end
	if not host.load("done_at") then host.store("done_at", now) end
	-- By then the emitter has heard of the end, and late reports have arrived.
	if now < host.load("done_at") + 3 then return end
	local missing = last + 1 - first - heard
	local stats, frames, resources = realtime.Stats(), host.frames(), host.resources()
	print(string.format("figures: first %d last %d heard %d missing %d told %d overflow %d wrong %d repeats %d",
		first, last, heard, missing, told, overflow, wrong, stats.inbox.dropped["repeat"]))
	print(string.format("figures: frame us p50 %.0f p99 %.0f max %.0f; pump us p50 %.1f p99 %.1f max %.1f; maps %d",
		frames.p50_us, frames.p99_us, frames.max_us, stats.pump.p50_us, stats.pump.p99_us, stats.pump.max_us, host.map_changes()))
	print(string.format("figures: threads %d (were %d) fds %s (were %s) rss %d kB",
		resources.threads, host.load("threads"), tostring(resources.fds), tostring(host.load("fds")), resources.rss_kb))
	local fine = wrong == 0 and missing == told + overflow and heard > 0 and stats.panics == 0
		and resources.threads == host.load("threads")
	print(fine and "1 passed, 0 failed" or "0 passed, 1 failed")
	host.quit(fine and 0 or 1)
end)
