-- Checks for Lua files that owners copy: `local shapes = include("shapes.lua")`. The shapes of events come from
-- lua/realtime_meta.lua, so that what an editor shows and what is sent cannot differ.
local shapes = {}

-- The classes of the file: name -> { base =, fields = { name -> { kind =, optional = } } }.
function shapes.read(path)
	local classes, class = {}, nil
	for line in host.io.lines(path) do
		local name, base = line:match("^%-%-%-@class ([%w_%.]+):? ?([%w_%.]*)")
		local field, optional, kind = line:match("^%-%-%-@field ([%w_]+)(%??) (%S+)")
		if name then
			class = { base = base, fields = {} }
			classes[name] = class
		elseif field and class then
			class.fields[field] = { kind = kind, optional = optional == "?" }
		elseif not line:find("^%-%-") then
			class = nil
		end
	end
	return classes
end

local function fields_of(classes, name)
	local all, class = {}, classes[name]
	assert(class, "no class " .. name)
	while class do
		for field, spec in pairs(class.fields) do all[field] = spec end
		class = classes[class.base]
	end
	return all
end

local function is_of(classes, value, kind)
	if kind:find('"', 1, true) then return isstring(value) and kind:find('"' .. value .. '"', 1, true) ~= nil end
	if kind == "integer" then return isnumber(value) and value % 1 == 0 end
	if classes[kind] then return istable(value) and shapes.wrong(classes, value, kind) == nil end
	return type(value) == kind
end

-- The first field of the event that the class does not have, or that is missing or of another type; nil if all are right.
function shapes.wrong(classes, event, name)
	local fields = fields_of(classes, name)
	for field, value in pairs(event) do
		if not fields[field] then return field .. " is not a field of " .. name end
		if not is_of(classes, value, fields[field].kind) then return field .. " is no " .. fields[field].kind end
		if field:find("steamid64$") and not tostring(value):find("^7656%d+$") then return field .. " is no SteamID64" end
	end
	for field, spec in pairs(fields) do
		if not spec.optional and event[field] == nil then return field .. " is missing" end
	end
end

-- The names of the globals that a function and the functions in it read and set, from LuaJIT's bytecode.
function shapes.globals(fn)
	local jit_util = host.require("jit.util")
	local function opcode(source, at) return bit.band((jit_util.funcbc(CompileString(source, "probe"), at)), 0xff) end
	local read_op, set_op = opcode("return probe", 1), opcode("probe = 1", 2)
	local read, set = {}, {}
	local function visit(proto)
		local at = 1
		while true do
			local instruction = jit_util.funcbc(proto, at)
			if not instruction then break end
			local op, name = bit.band(instruction, 0xff), bit.rshift(instruction, 16)
			if op == read_op then read[jit_util.funck(proto, -name - 1)] = true end
			if op == set_op then set[jit_util.funck(proto, -name - 1)] = true end
			at = at + 1
		end
		at = -1
		while true do
			local constant = jit_util.funck(proto, at)
			if constant == nil then break end
			if type(constant) == "proto" then visit(constant) end
			at = at - 1
		end
	end
	visit(fn)
	return read, set
end

-- Asserts that a file of garrysmod/lua sets no global and reads only those that the game, the module or its table has.
function shapes.check_globals(name)
	local fn = CompileFile(name)
	assert(isfunction(fn), name .. ": " .. tostring(fn))
	local read, set = shapes.globals(fn)
	assert(next(set) == nil, name .. " sets the global " .. tostring(next(set)))
	local known = 0
	for global in pairs(read) do
		known = known + 1
		assert(_G[global] ~= nil, name .. " reads the unknown global " .. global)
	end
	assert(known > 3, name .. " reads only " .. known .. " globals")
end

-- Records each event that is emitted from now on: `{ channel =, data = }`. Emitting goes on as before.
function shapes.record()
	local emit, events = realtime.Emit, {}
	function realtime.Emit(channel, data)
		events[#events + 1] = { channel = channel, data = data }
		return emit(channel, data)
	end
	return events
end

-- Returns `take(count)` for what `record` recorded: the events since the last call, exactly so many, each with the fields that
-- its class promises. `class_of` has the class of each channel. And `take_one(channel)`: the data of the one event.
function shapes.taker(events, classes, class_of)
	local taken = 0
	local function take(count)
		local new = {}
		for at = taken + 1, #events do
			local event = events[at]
			local wrong = shapes.wrong(classes, event.data, "realtime.event." .. class_of[event.channel])
			assert(not wrong, event.channel .. ": " .. tostring(wrong))
			new[#new + 1] = event
		end
		taken = #events
		if #new ~= count then error(#new .. " events instead of " .. count, 2) end
		return new
	end
	local function take_one(channel)
		local event = take(1)[1]
		assert(event.channel == channel, event.channel)
		return event.data
	end
	return take, take_one
end

return shapes
