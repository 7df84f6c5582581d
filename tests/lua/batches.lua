-- Hooks that post several events in one request, and that are patient: from `AddHook` to `Stats()`.
require("realtime")
local web = host.arg.web
local function refused(expected, spec)
	spec.type, spec.url = "http", web .. "/x"
	local id, reason = realtime.AddHook("kill", spec)
	assert(id == nil and reason:find(expected, 1, true) == 1, expected .. ": " .. tostring(reason))
end
refused("config: batch.max: expected a whole number from 1 to 1000, found 0", { batch = { max = 0 } })
refused("config: batch: expected a table with `max` and `seconds`, found a number", { batch = 5 })
refused("config: retry_for: expected 1 to 259200 seconds", { retry_for = 4 * 86400 })
refused("config: attempts: expected a number, found a string", { attempts = "many" })

-- An empty table has all defaults. The second hook waits for longer than this test runs, so its batch ends by its number.
assert(realtime.AddHook("kill", "array", { type = "http", url = web .. "/array", batch = {}, retry_for = 3 * 86400 }))
assert(realtime.AddHook("kill", "lines", { type = "http", url = web .. "/lines", batch = { max = 125, seconds = 300 },
	format = '{"index":{}}\n{"n":{n},"name":"{name}"}', attempts = 3 }))
for n = 1, 250 do assert(realtime.Emit("kill", { n = n, name = "a \"name\"\n" })) end

local deadline = host.mono() + 60
timer.Create("check", 0, 0, function()
	local stats = realtime.Stats()
	local done = stats.webhooks.delivered == 500
	if not done and host.mono() < deadline then return end
	local fine = done and stats.webhooks.waiting == 0 and stats.webhooks.on_disk == 0 and #stats.destinations == 2
		and stats.destinations[1].on_disk == 0 and stats.panics == 0
	print(fine and "1 passed, 0 failed" or "0 passed, 1 failed", util.TableToJSON(stats))
	host.quit(fine and 0 or 1)
end)
