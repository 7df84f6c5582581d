-- Helpers that several scripts share: `local checks = include("checks.lua")`.
local checks = {}

-- Calls `f` with the arguments and asserts that it raises an error whose message contains `expected`.
function checks.fails_with(expected, f, ...)
	local ok, message = pcall(f, ...)
	assert(not ok, "no error")
	assert(string.find(message, expected, 1, true), "the message is: " .. tostring(message))
end

-- From now on records every line that is printed. Returns `saw(text)`, which tells whether a line contained the text, and
-- the original `print`. Call it before `require("realtime")`: the module keeps the `print` that it finds.
function checks.capture_print()
	local printed, real_print = {}, print
	function print(...)
		printed[#printed + 1] = table.concat({ ... }, "\t")
		real_print(...)
	end
	local function saw(text)
		for _, line in ipairs(printed) do if line:find(text, 1, true) then return true end end
		return false
	end
	return saw, real_print
end

-- The names of those queues of `realtime.Stats()` for which in = delivered + dropped + waiting does not hold.
function checks.unbalanced(stats, names)
	local found = {}
	for _, name in ipairs(names) do
		local queue, dropped = stats[name], 0
		for _, count in pairs(queue.dropped) do dropped = dropped + count end
		if queue["in"] ~= queue.delivered + dropped + queue.waiting then found[#found + 1] = name end
	end
	return found
end

-- Raises an error at the caller of the caller unless the two are equal.
function checks.same(got, wanted)
	if got ~= wanted then error(string.format("got %s, wanted %s", tostring(got), tostring(wanted)), 2) end
end

-- Returns `check(what, found, expected)`, which goes on after a difference, and the list of the differences.
function checks.gather()
	local failures = {}
	local function check(what, found, expected)
		if found == expected then return end
		failures[#failures + 1] = what .. ": found " .. tostring(found) .. ", expected " .. tostring(expected)
	end
	return check, failures
end

-- A table of 14,990 values on several levels.
function checks.large(n)
	local list = {}
	for i = 1, 2498 do list[i] = { i, "text " .. i, { deep = { i } } } end
	return { n = n, list = list }
end

-- Whether `data` is the whole `large(n)`, and was not seen before.
function checks.is_large(data, n)
	if data.n ~= n or #data.list ~= 2498 then return false end
	for i, row in ipairs(data.list) do
		if row[1] ~= i or row[2] ~= "text " .. i or row[3].deep[1] ~= i or data.seen then return false end
	end
	data.seen = true
	return true
end

-- Prints the summary, with the reason of a failure, and ends the server.
function checks.finish(ok, why)
	if not ok then print("FAILED: " .. tostring(why)) end
	print(ok and "1 passed, 0 failed" or "0 passed, 1 failed")
	host.quit(ok and 0 or 1)
end

-- Emits one `kill` once Redis is connected, and ends the server when it was heard and so many posts were delivered.
function checks.finish_after_posts(count)
	local sent, heard
	realtime.On("kill", function(data) heard = data.n end)
	timer.Create("end", 0, 0, function()
		if realtime.Status() ~= "connected" then return end
		sent = sent or realtime.Emit("kill", { n = 7 })
		if heard and realtime.Stats().webhooks.delivered == count then
			assert(heard == 7)
			timer.Remove("end")
			print("1 passed, 0 failed")
			host.quit(0)
		end
	end)
end

return checks
