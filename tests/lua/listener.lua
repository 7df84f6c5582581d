-- Checks the events of tests/lua/emitter.lua: each number arrives once and in the order of its channel. Prints latencies.
require("realtime")
local count = tonumber(host.arg.count)
local last, heard, wrong, latency = { 0, 0, 0 }, 0, 0, {}
local started, quiet_until
realtime.On("seq:*", "audit", function(data, channel)
	local now = host.now()
	local lane = data.n % 3
	local expected = last[lane + 1] == 0 and (lane == 0 and 3 or lane) or last[lane + 1] + 3
	if data.n ~= expected or channel ~= "seq:" .. lane then wrong = wrong + 1 end
	last[lane + 1] = data.n
	heard = heard + 1
	latency[heard] = (now - data.at) * 1000
	if heard == count then
		-- Wait one more second: no event arrives twice.
		quiet_until = host.mono() + 1
	end
end)
timer.Create("watch", 0, 0, function()
	if not started and realtime.Status() == "connected" then
		-- Repeat this until the first event shows that the other side listens.
		realtime.Emit("start", { go = true })
		started = heard > 0
	end
	if not quiet_until or host.mono() < quiet_until then return end
	table.sort(latency)
	local function p(share) return latency[math.max(1, math.ceil(#latency * share))] end
	local wait = realtime.Stats().wait
	print(string.format("emit to callback ms: p50 %.2f p99 %.2f max %.2f; of it waiting for the frame: p50 %.2f p99 %.2f",
		p(0.5), p(0.99), p(1), wait.p50_us / 1000, wait.p99_us / 1000))
	local frames = host.frames()
	print(string.format("frame work us: p50 %.0f p99 %.0f max %.0f", frames.p50_us, frames.p99_us, frames.max_us))
	local bad = wrong + (heard == count and 0 or 1)
	print(heard - wrong .. " passed, " .. bad .. " failed")
	host.quit(bad == 0 and 0 or 1)
end)
