-- Objects of the same shape are delivered again and again, by a constructor after some sightings. Each must be what
-- GetTable, which has no constructors, decodes from the same text.
local checks = include("checks.lua")
require("realtime")
-- The texts of one round wait for their delivery; a busy machine takes its time.
assert(realtime.Configure({ sync_timeout_ms = 1000, tick_budget_us = 20000 }))

local function differs(a, b, path)
	if type(a) ~= type(b) then return path .. ": " .. type(a) .. " and " .. type(b) end
	if not istable(a) then
		if a ~= b then return path .. ": " .. tostring(a) .. " and " .. tostring(b) end
		return nil
	end
	for key, value in pairs(a) do
		local found = differs(value, b[key], path .. "." .. tostring(key))
		if found then return found end
	end
	for key in pairs(b) do
		if a[key] == nil then return path .. "." .. tostring(key) .. " is missing" end
	end
end

local seed = 12345
local function below(n)
	seed = (seed * 1103515245 + 12345) % 2147483648
	return math.floor(seed / 65536) % n
end

local parts = { "a", "b", "name", "killer", "weapon", "é", "]]", "--", " ", "'", "%d", "\\\"", "\\\\", "\\n", "\\u0000", "end", "0", "日本" }
local function name()
	local text = ""
	for _ = 0, below(3) do text = text .. parts[below(#parts) + 1] end
	if below(40) == 0 then text = text .. string.rep("x", 55 + below(12)) end
	return text
end

local function value(depth)
	local kind = below(depth > 0 and 9 or 7)
	if kind == 0 then return "null" end
	if kind == 1 then return below(2) == 0 and "true" or "false" end
	if kind == 2 then return tostring(below(100000) - 50000) end
	if kind == 3 then return below(1000) .. ".25" end
	if kind == 4 then return "76561198000000" .. 100 + below(900) end -- Beyond 2^53: a string for Lua.
	if kind == 5 then return '"' .. string.rep("long ", below(100)) .. '"' end
	if kind == 6 then return '"' .. name() .. '"' end
	if kind == 7 then return "[1,{\"x\":1,\"y\":2,\"z\":3},[],{}]" end
	return '{"x":' .. value(0) .. ',"y":' .. value(depth - 1) .. "}"
end

-- The names of a shape; a name may stand there twice. Some shapes have nested values.
local function shape()
	local names = {}
	for i = 1, 1 + below(below(10) == 0 and 20 or 8) do names[i] = name() end
	return { names = names, depth = below(4) == 0 and 2 or 0 }
end

local function object(of)
	local members = {}
	for i, key in ipairs(of.names) do members[i] = '"' .. key .. '":' .. value(of.depth) end
	return "{" .. table.concat(members, ",") .. "}"
end

-- More shapes than are known at a time and than are compiled; those of a round take turns.
local ROUNDS, SHAPES, SIGHTINGS = 14, 30, 8
local round, wanted, heard, wrong = 0, {}, 0, nil

realtime.On("object", "test", function(data)
	heard = heard + 1
	wrong = wrong or differs(data, wanted[heard], "event " .. heard .. " of round " .. round)
end)

local function send(text)
	assert(realtime.Set("text", text))
	local decoded, reason = realtime.GetTable("text")
	assert(decoded, reason)
	wanted[#wanted + 1] = decoded
	assert(realtime.Emit("object", text))
end

local function send_round()
	round, wanted, heard = round + 1, {}, 0
	local shapes = {}
	for i = 1, SHAPES do shapes[i] = shape() end
	-- Each shape alone, then all in turns, then many in one event.
	for _, of in ipairs(shapes) do
		for _ = 1, SIGHTINGS do send(object(of)) end
	end
	for _ = 1, SIGHTINGS do
		for _, of in ipairs(shapes) do send(object(of)) end
	end
	local rows = {}
	for i = 1, 3 * SHAPES do rows[i] = object(shapes[below(SHAPES) + 1]) end
	send('{"rows":[' .. table.concat(rows, ",") .. "]}")
end

timer.Create("test", 0, 0, function()
	if realtime.Status() ~= "connected" then return end
	if wrong then host.fail(wrong) end
	if heard < #wanted then return end
	if round < ROUNDS then return send_round() end
	local stats = realtime.Stats()
	checks.same(stats.raw_slow, 0)
	checks.same(stats.call_errors, 0)
	print("1 passed, 0 failed")
	host.quit(0)
end)
