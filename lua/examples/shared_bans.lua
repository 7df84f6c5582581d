-- A ban on one server holds on all: the player is kicked everywhere and cannot join until the ban ends or is lifted.
--
-- Copy to:  garrysmod/lua/autorun/server/shared_bans.lua, beside realtime_adapters.lua, on every server
-- Set:      `realtime_adapters 1` in the console. Works with ULX, SAM and ServerGuard, also mixed.
-- Reads:    admin:ban and admin:unban. Keeps each ban in Redis, under shared_ban:<SteamID64>, as long as it lasts.
-- Lift a ban on the server that has it, or with lua_run realtime.Del("shared_ban:76561198000000001").
-- Whoever may publish in your Redis can ban: protect it with a password.

if not util.IsBinaryModuleInstalled("realtime") then
	return print("[realtime] shared_bans.lua: garrysmod/lua/bin has no realtime module for this server")
end
require("realtime")

local function key_of(steamid64) return "shared_ban:" .. steamid64 end

local function is_steamid64(value) return isstring(value) and value:find("^7656119%d+$") ~= nil and #value == 17 end

local function kick(steamid64, ban)
	local reason = isstring(ban.reason) and ban.reason or "no reason given"
	game.KickID(util.SteamIDFrom64(steamid64), "Banned on " .. tostring(ban.server) .. ": " .. reason)
end

realtime.On("admin:ban", "shared_bans", function(ban, _, meta)
	if not istable(ban) or not is_steamid64(ban.steamid64) then return end
	-- The admin addon of this server kicks by itself; this server keeps the ban for the others.
	if not meta.own then return kick(ban.steamid64, ban) end
	local kept, seconds = { reason = ban.reason, server = ban.server, admin = ban.admin }, tonumber(ban.duration) or 0
	if seconds > 0 then
		realtime.SetEx(key_of(ban.steamid64), kept, seconds)
	else
		realtime.Set(key_of(ban.steamid64), kept)
	end
end)

realtime.On("admin:unban", "shared_bans", function(unban, _, meta)
	if meta.own and istable(unban) and is_steamid64(unban.steamid64) then realtime.Del(key_of(unban.steamid64)) end
end)

-- Asks without waiting, as soon as somebody begins to join.
gameevent.Listen("player_connect")
hook.Add("player_connect", "shared_bans", function(data)
	local steamid64 = data.bot == 0 and util.SteamIDTo64(data.networkid)
	if not is_steamid64(steamid64) then return end
	realtime.GetTable(key_of(steamid64), function(ban)
		if istable(ban) then kick(steamid64, ban) end
	end)
end)
