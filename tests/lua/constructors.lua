-- Objects of the same shape are delivered again and again, by a constructor after some sightings. Each must be what this
-- script expects of its text, whichever way it was made.
local checks = include("checks.lua")
require("realtime")
assert(realtime.Configure({ tick_budget_us = 20000 }))

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

-- Parts of names and texts: as JSON has them, and as Lua has them if that differs.
local parts = { { "a" }, { "b" }, { "name" }, { "killer" }, { "weapon" }, { "é" }, { "]]" }, { "--" }, { " " }, { "'" }, { "%d" }, { "end" },
	{ "0" }, { "日本" }, { '\\"', '"' }, { "\\\\", "\\" }, { "\\n", "\n" }, { "\\u0000", "\0" } }
local function name()
	local text, read = "", ""
	for _ = 0, below(3) do
		local part = parts[below(#parts) + 1]
		text, read = text .. part[1], read .. (part[2] or part[1])
	end
	local more = below(40) == 0 and string.rep("x", 55 + below(12)) or ""
	return { text = text .. more, read = read .. more }
end

-- A value as JSON text and as Lua has it; nil for null.
local function value(depth)
	local kind = below(depth > 0 and 9 or 7)
	if kind == 0 then return "null", nil end
	if kind == 1 then
		local is = below(2) == 0
		return tostring(is), is
	end
	if kind == 2 then
		local number = below(100000) - 50000
		return tostring(number), number
	end
	if kind == 3 then
		local whole = below(1000)
		return whole .. ".25", whole + 0.25
	end
	if kind == 4 then
		local id = "76561198000000" .. 100 + below(900) -- Beyond 2^53: a string for Lua.
		return id, id
	end
	if kind == 5 then
		local long = string.rep("long ", below(100))
		return '"' .. long .. '"', long
	end
	if kind == 6 then
		local of = name()
		return '"' .. of.text .. '"', of.read
	end
	if kind == 7 then return '[1,{"x":1,"y":2,"z":3},[],{},null]', { 1, { x = 1, y = 2, z = 3 }, {}, {}, realtime.Null } end
	local x, read_x = value(0)
	local y, read_y = value(depth - 1)
	return '{"x":' .. x .. ',"y":' .. y .. "}", { x = read_x, y = read_y }
end

-- The names of a shape; a name may stand there twice. Some shapes have nested values.
local function shape()
	local names = {}
	for i = 1, 1 + below(below(10) == 0 and 20 or 8) do names[i] = name() end
	return { names = names, depth = below(4) == 0 and 2 or 0 }
end

local function object(of)
	local members, read = {}, {}
	for i, key in ipairs(of.names) do
		local text, value = value(of.depth)
		members[i], read[key.read] = '"' .. key.text .. '":' .. text, value
	end
	return "{" .. table.concat(members, ",") .. "}", read
end

-- More shapes than are known at a time and than are compiled; those of a round take turns.
local ROUNDS, SHAPES, SIGHTINGS = 14, 30, 8
local round, wanted, heard, wrong = 0, {}, 0, nil

realtime.On("object", "test", function(data)
	heard = heard + 1
	wrong = wrong or differs(data, wanted[heard], "event " .. heard .. " of round " .. round)
end)

local function send(text, read)
	wanted[#wanted + 1] = read
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
	local rows, read = {}, {}
	for i = 1, 3 * SHAPES do rows[i], read[i] = object(shapes[below(SHAPES) + 1]) end
	send('{"rows":[' .. table.concat(rows, ",") .. "]}", { rows = read })
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
