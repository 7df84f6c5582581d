-- What is easier said in Lua: reporting, telling userdata apart, and hanging the pump on the game.
-- Run once by gmod13_open in each Lua state. Returns the functions that the native side calls, all under pcall.
local context, pumped = ...
-- The game's own, whatever a script puts in its place later.
local print = print

-- Called on the stack of the error, so that the stack that ErrorNoHaltWithStack prints is the script's own.
local function on_error(message)
	ErrorNoHaltWithStack("[realtime] " .. context() .. ": " .. tostring(message) .. "\n")
	return true
end

-- For what on_error could not report: an error inside it, or no memory.
local function report(message)
	ErrorNoHaltWithStack("[realtime] " .. context() .. ": " .. tostring(message) .. "\n")
end

local function say(line)
	print("[realtime] " .. line)
end

-- kind, then up to three values; any other kind is an error that names it.
local function describe(value)
	local kind = type(value)
	if kind == "Vector" then return "vector", value.x, value.y, value.z end
	if kind == "Angle" then return "angle", value.p, value.y, value.r end
	if isentity(value) then
		if not IsValid(value) then return "null" end
		if value:IsPlayer() then return "player", value:SteamID64(), value:Nick(), value:UserID() end
		return "entity", value:GetClass(), value:EntIndex()
	end
	return kind
end

-- Whether a callback can see a third argument. Builds of LuaJIT that do not tell get it always.
local function takes_meta(callback)
	local info = debug.getinfo(callback, "u")
	return not info or not info.nparams or info.isvararg or info.nparams > 2
end

-- Looked up at each call: `hook` is the script environment's, and may come or be replaced later.
local function notify(name, ...)
	hook.Run(name, ...)
end

local function start(pump)
	local function hang()
		timer.Create("realtime.pump", 0, 0, pump)
	end
	hang()
	-- An addon that removes all timers must not end the events: a second without the pump, and it hangs again.
	local next_look = 0
	hook.Add("Think", "realtime.pump", function()
		local now = SysTime()
		if now < next_look then return end
		next_look = now + 1
		if pumped() == 0 then hang() end
	end)
end

return on_error, report, say, describe, takes_meta, notify, start
