-- Emits `count` numbered events on three channels, `rate` a second, then waits until Redis has all of them.
require("realtime")
local count, rate = tonumber(host.arg.count), tonumber(host.arg.rate)
local sent, start = 0, nil
timer.Create("emit", 0, 0, function()
	if not start then
		-- The listener is not ready yet. It says so through Redis (channel `start`).
		return
	end
	local due = math.min(count, math.floor((host.mono() - start) * rate) + 1)
	while sent < due do
		sent = sent + 1
		local channel = "seq:" .. sent % 3
		assert(realtime.Emit(channel, { n = sent, at = host.now(), killer = "John", victim = "Alice" }))
	end
	if sent == count and realtime.Stats().outbox.waiting == 0 then
		local stats = realtime.Stats()
		assert(stats.outbox.delivered >= count and stats.outbox.dropped.unknown == 0)
		print("sent " .. sent)
		host.quit(0)
	end
end)
realtime.On("start", "once", function() start = start or host.mono() end)
