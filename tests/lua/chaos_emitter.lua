-- Emits `rate` numbered events a second for `seconds` seconds, through map changes. Then emits a last event until the
-- listener has heard one.
require("realtime")
local rate, seconds = tonumber(host.arg.rate), tonumber(host.arg.seconds)
local MAP_SECONDS = 7
local began = host.load("began")
local sent, refused = host.load("sent") or 0, host.load("refused") or 0
local map_began, ending = host.mono(), nil

realtime.On("start", "x", function()
	if began then return end
	began = host.mono()
	host.store("began", began)
	local now = host.resources()
	host.store("threads", now.threads)
	print("ready")
end)
realtime.On("done", "x", function() ending = "heard" end)

local function emit(extra)
	local event = extra or {}
	event.n = sent + 1
	local ok, reason = realtime.Emit("n", event)
	if ok then
		sent = sent + 1
	else
		assert(reason:find("^queue_full"), reason)
		refused = refused + 1
	end
	return ok
end

-- Whether the outbox balances. While it works, a worker may be between two of its counts.
local function balances(out)
	return out["in"] == out.delivered + out.dropped.unknown + out.dropped.expired + out.dropped.redis
		+ out.dropped.queue_full + out.waiting
end

local function figures(stats)
	local frames, now, out = host.frames(), host.resources(), stats.outbox
	print(string.format("figures: sent %d refused %d resent %d unknown %d expired %d reconnects %d failures %d maps %d",
		sent, refused, stats.resent, out.dropped.unknown, out.dropped.expired, stats.reconnects, stats.connect_failures,
		host.map_changes()))
	print(string.format("figures: frame us p50 %.0f p99 %.0f max %.0f; pump us p50 %.1f p99 %.1f max %.1f",
		frames.p50_us, frames.p99_us, frames.max_us, stats.pump.p50_us, stats.pump.p99_us, stats.pump.max_us))
	print(string.format("figures: threads %d fds %s rss %d kB", now.threads, tostring(now.fds), now.rss_kb))
	assert(stats.panics == 0 and now.threads == host.load("threads"))
end

local next_mark = 0
timer.Create("emit", 0, 0, function()
	if not began then return end
	local elapsed = host.mono() - began
	if ending == "heard" then
		local stats = realtime.Stats()
		-- If the outbox never balances, the time limit of the test ends this script.
		if not balances(stats.outbox) then return end
		figures(stats)
		print("1 passed, 0 failed")
		return host.quit(0)
	elseif elapsed < seconds then
		local due = math.floor(elapsed * rate)
		while sent + refused < due do emit() end
		if host.mono() - map_began > MAP_SECONDS then
			host.store("sent", sent)
			host.store("refused", refused)
			map_began = math.huge
			host.changelevel("gm_next")
		end
	elseif host.mono() > next_mark then
		next_mark = host.mono() + 0.2
		emit({ last = true })
	end
end)
