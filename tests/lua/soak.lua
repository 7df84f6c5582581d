-- A steady load for `seconds` seconds. The server under test hears 2,000 events a second of another server (`role=load`),
-- emits 500 a second with three hooks on them, and prints frame times, memory and descriptors at the start and at the end.
-- Neither server runs ahead of the other, so that no queue overflows on a busy machine.
require("realtime")
local checks = include("checks.lua")
local seconds = tonumber(host.arg.seconds)
local IN_PER_SECOND, OUT_PER_SECOND, AHEAD_MAX = 2000, 500, 2000
local QUEUES = { "outbox", "inbox", "notices", "replies", "actions", "aggregates", "files", "webhooks" }

local event = { killer = "John Doe", victim = "Alice", weapon = "weapon_crossbow", pos = { x = -1024.5, y = 311.25, z = 64 } }
-- `sent`: events of this server. `back`: how many of them were heard. `heard`: events of the other one.
local sent, back, heard, began = 0, 0, 0, nil

-- Emits what is due at this rate.
local function emit_due(channel, per_second, extra)
	local due = (host.mono() - began) * per_second
	while sent < due and sent - back < AHEAD_MAX do
		event.n, event.post, event.heard = sent + 1, nil, nil
		if extra then extra(event) end
		assert(realtime.Emit(channel, event))
		sent = sent + 1
	end
end

-- Listens to numbered events; each must be the next.
local function count(channel, f)
	local last = 0
	realtime.On(channel, "x", function(data)
		checks.same(data.n, last + 1)
		last = data.n
		f(data)
	end)
end

if host.arg.role == "load" then
	count("out", function(data) back = data.heard end)
	realtime.On("begin", "x", function() began = began or host.mono() end)
	realtime.On("stop", "x", function()
		if began then realtime.Emit("stopped", { sent = sent }) end
		began = nil
	end)
	realtime.On("done", "x", function()
		print("1 passed, 0 failed")
		host.quit(0)
	end)
	timer.Create("load", 0, 0, function()
		if began then emit_due("in", IN_PER_SECOND) end
	end)
	return
end

assert(realtime.AddHook("out", { type = "discord", webhook_url = host.arg.discord .. "/api/webhooks/1/t",
	format = "number {n}", where = { post = true } }))
assert(realtime.AddHook("out", { type = "file", path = "soak.log" }))
assert(realtime.AddHook("out", { type = "counter", key = "counted" }))
count("out", function() back = back + 1 end)
count("in", function() heard = heard + 1 end)

-- Memory and descriptors, after the garbage of Lua is gone.
local function usage(name)
	collectgarbage()
	collectgarbage()
	local now = host.resources()
	print(string.format("soak: %s: rss %d kB, lua %d kB, descriptors %s, threads %d", name, now.rss_kb, now.lua_kb,
		tostring(now.fds), now.threads))
	return now
end

local function percentiles()
	local frames, pump = host.frames(), realtime.Stats().pump
	print(string.format("soak: frame us p50 %.0f p99 %.0f max %.0f; pump us p50 %.1f p99 %.1f max %.1f", frames.p50_us,
		frames.p99_us, frames.max_us, pump.p50_us, pump.p99_us, pump.max_us))
end

-- Each event was delivered and each action carried out; nothing was dropped. A connection that stands before the first tick
-- makes the notice of it outdated: on a busy machine that can happen, and it is no loss.
local function check_counts(stats, others)
	checks.same(table.concat(checks.unbalanced(stats, QUEUES), " "), "")
	for _, name in ipairs(QUEUES) do
		for reason, dropped in pairs(stats[name].dropped) do
			if dropped ~= 0 and reason ~= "outdated" then error(name .. " dropped " .. dropped .. ": " .. reason) end
		end
	end
	checks.same(heard, others)
	checks.same(back, sent)
	checks.same(stats.panics, 0)
	checks.same(stats.missed, 0)
end

local function is_idle(stats)
	for _, name in ipairs(QUEUES) do if stats[name].waiting > 0 then return false end end
	return true
end

-- The load has run for a quarter of the time when the start is measured: buffers and pools have their size by then.
local start, others, next_post, posts, counted
realtime.On("stopped", "x", function(data) others = data.sent end)
realtime.On("in", "first", function()
	realtime.Off("in", "first")
	began = host.mono()
end)
timer.Create("soak", 0, 0, function()
	if realtime.Status() ~= "connected" then return end
	if not began then
		realtime.Emit("begin", true)
		return
	end
	local elapsed = host.mono() - began
	if elapsed < seconds then
		emit_due("out", OUT_PER_SECOND, function(data)
			data.heard = heard
			if elapsed >= (next_post or 0) then
				data.post, next_post, posts = true, elapsed + 1, (posts or 0) + 1
			end
		end)
		if not start and elapsed > seconds / 4 then
			start = usage("start")
			host.frames_reset()
		end
		return
	end
	if not others then
		realtime.Emit("stop", true)
		return
	end
	local stats = realtime.Stats()
	if heard < others or back < sent or not is_idle(stats) then return end
	if not counted then
		counted = "asked"
		return realtime.Get("counted", function(value) counted = tonumber(value) end)
	end
	if counted == "asked" or #checks.unbalanced(stats, QUEUES) > 0 then return end
	timer.Remove("soak")
	percentiles()
	local finish = usage("end")
	check_counts(stats, others)
	checks.same(counted, sent)
	print(string.format("soak: %d events in, %d out, %d posts in %.0f s", heard, sent, posts, seconds))
	-- Allocators keep some memory, and a connection to the web server may be open or closed.
	assert(finish.rss_kb <= start.rss_kb + 4096, "memory grew")
	assert(not finish.fds or finish.fds <= start.fds + 2, "descriptors grew")
	assert(finish.threads <= start.threads + 1, "threads grew")
	realtime.Emit("done", true)
	print("1 passed, 0 failed")
	host.quit(0)
end)
