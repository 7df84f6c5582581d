-- The time from Emit on one server to the callback on another, both with 66.67 ticks a second: `fleet/latency/p50` and
-- `/p99` in milliseconds. Two servers run this script, one with ROLE=sends; the other prints the samples: case, who, round,
-- value, unit, separated by tabs.
--     host --set ROLE=sends benches/fleet.lua & host benches/fleet.lua
require("realtime")
local rounds = tonumber(host.arg.ROUNDS or 10)
local EVENTS, TICK_MS = 200, 15.0

if host.arg.ROLE == "sends" then
	-- An event at a random moment of each tick: else all would have one phase to the other server's ticks.
	math.randomseed(os.time())
	realtime.On("end", "bench", function() host.quit(0) end)
	hook.Add("Think", "bench", function()
		if realtime.Status() ~= "connected" then return end
		host.block(math.random() * TICK_MS)
		realtime.Emit("bench", { at = host.now() })
	end)
else
	local round, delays = 0, {}
	realtime.On("bench", "bench", function(data)
		delays[#delays + 1] = (host.now() - data.at) * 1000
		if #delays < EVENTS then return end
		table.sort(delays)
		-- The first round fills caches.
		for name, share in pairs({ p50 = 0.5, p99 = 0.99 }) do
			if round > 0 then
				print(string.format("fleet/latency/%s\tours\t%d\t%.3f\tms", name, round, delays[math.ceil(EVENTS * share)]))
			end
		end
		round, delays = round + 1, {}
		if round > rounds then
			realtime.Emit("end", true)
			host.quit(0)
		end
	end)
end
