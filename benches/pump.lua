-- The pump: an idle tick (`idle/tick`), and calls while the inbox is kept full until 100,000 events are delivered
-- (`pump/backlog/...`: the longest call and the 95th percentile, less the budget; and the events of a call, median). Calls
-- during which the system gave the core to another thread do not count.
-- Prints samples: case, who, round, value, unit, separated by tabs. A Redis is needed; the budget is the module's default.
local rounds = tonumber(host.arg.ROUNDS or 10)
local BUDGET_US, BACKLOG, FULL = 500, 100000, 8000 -- The inbox holds 8192 events.

local pump
local create = timer.Create
function timer.Create(name, delay, repetitions, f)
	if name == "realtime.pump" then pump = f end
	return create(name, delay, repetitions, f)
end
require("realtime")

local function sample(case, round, value, unit)
	print(string.format("%s\tours\t%d\t%.3f\t%s", case, round, value, unit))
end

local event = {
	killer = "John Doe", victim = "Alice", weapon = "weapon_crossbow", headshot = true, timestamp = 1763942400,
	pos = { x = -1024.5, y = 311.25, z = 64 },
}
local heard = 0
realtime.On("bench", "bench", function() heard = heard + 1 end)
while realtime.Status() ~= "connected" do pump() end

-- Fills the inbox, which takes some time that does not count.
local function fill(sent)
	while heard + FULL > sent do
		if realtime.Emit("bench", event) then sent = sent + 1 end
	end
	while realtime.Stats().inbox.waiting < FULL do end
	return sent
end

-- How often the system took the core away from this thread.
local function interruptions()
	return tonumber(host.io.open("/proc/self/status"):read("*a"):match("nonvoluntary_ctxt_switches:%s*(%d+)"))
end

local sent = 0
for round = 1, rounds do
	local before, took, counts = heard, {}, {}
	while heard - before < BACKLOG do
		sent = fill(sent)
		local heard_before, interrupted, start = heard, interruptions(), host.mono()
		pump()
		local us = (host.mono() - start) * 1e6
		if interruptions() == interrupted then
			took[#took + 1] = us
			counts[#counts + 1] = heard - heard_before
		end
	end
	table.sort(took)
	table.sort(counts)
	sample("pump/backlog/longest", round, took[#took] - BUDGET_US, "us")
	sample("pump/backlog/p95", round, took[math.ceil(#took * 0.95)] - BUDGET_US, "us")
	sample("pump/backlog/events", round, counts[math.ceil(#counts / 2)], "events")
end
while heard < sent do pump() end
assert(realtime.Stats().inbox.dropped.overflow == 0)

for round = 1, rounds do
	local count, start = 100000, host.mono()
	for _ = 1, count do pump() end
	sample("idle/tick", round, (host.mono() - start) / count * 1e9, "ns")
end
host.quit(0)
