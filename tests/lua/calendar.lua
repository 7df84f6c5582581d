-- Dates in templates follow the machine's clock through a change, and the option. The test runs this with a zone 5:30 east
-- of UTC.
local date, shift = os.date, 0
-- The clock of the machine as it is at `require`; daylight saving time begins when `shift` changes.
function os.date(format, time) return date(format, format == "*t" and time + shift or time) end
require("realtime")
-- The module keeps the function that it found.
function os.date() error("replaced by a script") end

realtime.AddHook("tick", "count", { type = "counter", key = "{zone} {date} {time:%H:%M} {week}", by = "{n}" })

-- What changes, and the distance from UTC that follows, in seconds.
local zones = {
	{ "as the machine begins", 19800, function() end },
	{ "daylight saving time", 23400, function() shift = 3600 end },
	{ "the owner's", -12600, function() assert(realtime.Configure({ timezone_offset = "-03:30" })) end },
	{ "the machine's again", 23400, function() assert(realtime.Configure({ timezone_offset = "" })) end },
}
local begun, waiting, deadline = nil, 0, host.mono() + 100

timer.Create("steps", 0, 0, function()
	local zone = zones[1]
	if not zone then
		assert(realtime.Configure({ timezone_offset = "Europe/Paris" }) == false)
		print("1 passed, 0 failed")
		return host.quit(0)
	end
	if host.mono() > deadline then print("no counter of zone " .. zone[1]) return host.quit(1) end
	if not begun then
		begun = os.time()
		zone[3]()
	end
	assert(realtime.Emit("tick", { zone = zone[1], n = "3" }))
	if waiting > 0 then return end
	-- A minute may end between the event and now.
	for time = begun, os.time() + 59, 60 do
		waiting = waiting + 1
		realtime.Get(zone[1] .. " " .. date("!%Y-%m-%d %H:%M %G-W%V", time + zone[2]), function(value)
			waiting = waiting - 1
			local count = tonumber(value) or 0
			assert(count % 3 == 0)
			if count > 0 and zones[1] == zone then
				table.remove(zones, 1)
				begun = nil
			end
		end)
	end
end)
