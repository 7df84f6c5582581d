-- Adapters: send what admin addons and DarkRP do as events of `realtime`, in one shape for all of them. So a Discord hook or
-- another program need not know which addon a server uses.
--
-- Copy to:  garrysmod/lua/autorun/server/realtime_adapters.lua
-- Set:      realtime_adapters 1              turns them on; they are off at first
--           realtime_adapter_<name> 0        turns one of them off: ulx, sam, serverguard, cami, darkrp, awarn
--           The game saves all of them (in cfg/server.vdf) at a map change and when the server ends.
-- Channels: admin:ban, admin:unban, admin:kick, admin:rank, admin:warn, economy:money, economy:transfer, economy:drop,
--           roleplay:arrest, roleplay:release, roleplay:job. The README and lua/realtime_meta.lua list the fields of each.
--
-- An adapter works only if its addon is there. Addons load in any order, so this is looked up when the map has loaded.
-- `admin` is a name, "Console" for the server console; `admin_steamid64` is absent for the console. Durations are seconds,
-- and 0 means forever. Reasons and names are what players typed: never a channel, a key or a format.

if not util.IsBinaryModuleInstalled("realtime") then
	print("[realtime] adapters: garrysmod/lua/bin has no realtime module for this server, so nothing is sent")
	return
end
require("realtime")

local ID = "realtime_adapters"
local everything = CreateConVar("realtime_adapters", "0", FCVAR_ARCHIVE, "Sends events of admin addons and DarkRP through realtime", 0, 1)

-- Adapters that work now, by name.
local active = {}

local function emit(channel, source, fields)
	fields.time, fields.server, fields.source = os.time(), GetHostName(), source
	realtime.Emit(channel, fields)
end

-- A global of another addon, or nil. rawget, because some addons make reading an unknown global an error.
local function addon(name)
	local value = rawget(_G, name)
	return istable(value) and value or nil
end

-- Persons --------------------------------------------------------------------------------------------------------

local function is_player(value) return isentity(value) and value:IsValid() and value:IsPlayer() end

-- The SteamID64 of a player, a SteamID or a SteamID64; nil for anything else, such as a bot, an address or the console.
local function steamid64_of(who)
	if is_player(who) then
		local id = not who:IsBot() and who:SteamID64()
		return isstring(id) and id ~= "0" and id or nil
	end
	if not isstring(who) then return nil end
	if who:find("^7656119%d%d%d%d%d%d%d%d%d%d$") then return who end
	local id = who:find("^STEAM_%d:%d:%d+$") and util.SteamIDTo64(who)
	return isstring(id) and id ~= "0" and id or nil
end

local function name_of(who, steamid64)
	if is_player(who) then return who:Nick() end
	local ply = steamid64 and player.GetBySteamID64(steamid64)
	return is_player(ply) and ply:Nick() or nil
end

-- Fields for the person to whom it happened. Returns nil if addons name somebody who has no SteamID64.
local function target(who, name)
	local steamid64 = steamid64_of(who)
	if not steamid64 and not is_player(who) then return nil end
	return { steamid64 = steamid64, name = name_of(who, steamid64) or isstring(name) and name ~= "" and name or nil }
end

-- Adds the person who did it: a player, a SteamID, a SteamID64, "Name(STEAM_0:1:2)" as ULib writes it, "Name [STEAM_0:1:2]"
-- as ServerGuard does, or the name of a script that bans by itself. NULL, nothing and "Console" are the console.
local function by(fields, who)
	local steamid64 = steamid64_of(who)
	local name = name_of(who, steamid64)
	if not steamid64 and isstring(who) then
		local written, steamid = who:match("^(.-) ?[%(%[](STEAM_%d:%d:%d+)[%)%]]$")
		steamid64, name = steamid64_of(steamid), written or who
		if name == "" or name:lower():find("^[%(%[]?console[%)%]]?$") then name = nil end
	end
	fields.admin, fields.admin_steamid64 = name or steamid64 or "Console", steamid64
	return fields
end

-- From a Unix time, which 0 or nothing means never.
local function seconds_until(unix_time, from)
	unix_time = tonumber(unix_time) or 0
	return unix_time > 0 and math.max(math.floor(unix_time - (tonumber(from) or os.time())), 1) or 0
end

-- Runs a function in the next tick, also while the server hibernates, which only named timers with delay 0 do.
local waiting = 0
local function next_tick(fn)
	waiting = waiting + 1
	timer.Create(ID .. waiting, 0, 1, fn)
end

-- Ranks ----------------------------------------------------------------------------------------------------------

-- Admin addons tell each other about ranks through CAMI and then report them as their own change, so one change is
-- reported several times. Only the first report of the same new rank within this time is sent.
local SAME_CHANGE_S = 5
local last_rank = {}

local function rank_changed(source, who, new, old, duration)
	local fields = target(who)
	if not fields then return end
	fields.new, fields.old, fields.duration = tostring(new or "user"), tostring(old or "user"), duration
	local key, now = fields.steamid64 or fields.name, SysTime()
	local last = last_rank[key]
	if fields.new == fields.old or last and last.new == fields.new and now - last.at < SAME_CHANGE_S then return end
	last_rank[key] = { new = fields.new, at = now }
	emit("admin:rank", source, fields)
end

-- ULX and ULib ---------------------------------------------------------------------------------------------------
-- github.com/TeamUlysses/ulib: lua/ulib/shared/defines.lua describes the hooks; lua/ulib/server/bans.lua, player.lua and
-- ucl.lua call them.

-- `ban` is a row of ULib.bans. A ban that is changed keeps its first `time` and `admin`.
local function ulib_banned(steamid, ban)
	local fields = target(steamid, ban.name)
	if not fields then return end
	fields.reason = ban.reason
	fields.duration = seconds_until(ban.unban, ban.modified_time or ban.time)
	emit("admin:ban", "ulx", by(fields, ban.modified_admin or ban.admin))
end

local function ulib_unbanned(steamid, admin)
	local fields = target(steamid)
	if fields then emit("admin:unban", "ulx", by(fields, admin)) end
end

-- ULib kicks whom it bans, and notes the ban before. Such a kick is part of the ban.
local function ulib_kicked(steamid, reason, admin)
	local ulib, fields = addon("ULib"), target(steamid)
	local bans = ulib and istable(ulib.bans) and ulib.bans or {}
	if not fields or bans[steamid] then return end
	fields.reason = reason
	emit("admin:kick", "ulx", by(fields, admin))
end

local function ulib_group(id, _, _, new, old) rank_changed("ulx", id, new, old) end
local function ulib_user_removed(id, info) rank_changed("ulx", id, "user", istable(info) and info.group) end

-- SAM ------------------------------------------------------------------------------------------------------------
-- SAM is sold at gmodstore.com. Its author's github.com/Srlion/Custom-SAM-Modules uses the hooks, in
-- blogs_sam/lua/gmodadminsuite/modules/logging/modules/sam.lua. Dates are Unix times, 0 for never; the console is
-- "Console". SAM reports no kicks.

local function sam_banned(who, unban_date, reason, admin)
	local fields = target(who)
	if not fields then return end
	fields.reason, fields.duration = reason, seconds_until(unban_date)
	emit("admin:ban", "sam", by(fields, admin))
end

local function sam_unbanned(steamid, admin)
	local fields = target(steamid)
	if fields then emit("admin:unban", "sam", by(fields, admin)) end
end

local function sam_rank(who, new, old, expiry) rank_changed("sam", who, new, old, seconds_until(expiry)) end

-- ServerGuard ----------------------------------------------------------------------------------------------------
-- The hooks are called by serverguard:BanPlayer and serverguard:UnbanPlayer. The addon is no longer sold; servers have
-- published it, such as github.com/NoteDevil/gmod-server and github.com/chelog/dobrograd-13-06-2022 (garrysmod/addons). The
-- ban hooks ask whether a ban is allowed, so the ban may still fail: the row in serverguard.banTable, which a ban replaces
-- at once, decides in the next tick. Ranks arrive through CAMI.

local function serverguard_asked(steamid)
	local bans = (addon("serverguard") or {}).banTable
	if not istable(bans) then return end
	local before = bans[steamid]
	next_tick(function()
		local ban = bans[steamid]
		local fields = ban and ban ~= before and target(steamid, ban.player)
		if not fields then return end
		fields.reason, fields.duration = ban.reason, seconds_until(ban.endTime, ban.startTime)
		emit("admin:ban", "serverguard", by(fields, ban.admin))
	end)
end

local function serverguard_banned(ply) if is_player(ply) then serverguard_asked(ply:SteamID()) end end
local function serverguard_unbanned(steamid, admin)
	local fields = target(steamid)
	if fields then emit("admin:unban", "serverguard", by(fields, admin)) end
end

-- CAMI -----------------------------------------------------------------------------------------------------------
-- github.com/glua/CAMI, sh_cami.lua: the common interface of admin addons. `origin` is "ULX", "SAM" and the like, and nil in
-- old copies.

local ADAPTER_OF = { ULX = "ulx", SAM = "sam" }
local function cami_rank(who, old, new, origin)
	if not active[ADAPTER_OF[origin]] then rank_changed("cami", who, new, old) end
end

-- DarkRP ---------------------------------------------------------------------------------------------------------
-- github.com/FPtje/DarkRP: gamemode/modules/money/sv_money.lua, gamemode/modules/police/sv_init.lua and sv_interface.lua,
-- gamemode/modules/jobs/sv_jobs.lua.

-- Called before the wallet changes. An addon that also uses the hook may set another sum.
local function darkrp_wallet(ply, amount, wallet)
	local fields = target(ply)
	if not fields then return end
	fields.change = math.floor(tonumber(amount) or 0)
	fields.old = math.floor(tonumber(wallet) or 0)
	fields.new = fields.old + fields.change
	emit("economy:money", "darkrp", fields)
end

local function darkrp_gave(from, to, amount)
	if not is_player(from) or not is_player(to) then return end
	emit("economy:transfer", "darkrp", {
		from = from:Nick(), from_steamid64 = steamid64_of(from), to = to:Nick(), to_steamid64 = steamid64_of(to),
		amount = tonumber(amount) or 0,
	})
end

local function darkrp_dropped(ply, amount)
	local fields = target(ply)
	if not fields then return end
	fields.amount = tonumber(amount) or 0
	emit("economy:drop", "darkrp", fields)
end

local function darkrp_arrested(criminal, duration, arrester)
	local fields = target(criminal)
	if not fields then return end
	fields.duration = math.floor(tonumber(duration) or 0)
	if is_player(arrester) then fields.officer, fields.officer_steamid64 = arrester:Nick(), steamid64_of(arrester) end
	emit("roleplay:arrest", "darkrp", fields)
end

-- Without an officer when the time is over.
local function darkrp_released(criminal, officer)
	local fields = target(criminal)
	if not fields then return end
	if is_player(officer) then fields.officer, fields.officer_steamid64 = officer:Nick(), steamid64_of(officer) end
	emit("roleplay:release", "darkrp", fields)
end

local function darkrp_job(ply, old, new)
	local fields = target(ply)
	if not fields then return end
	fields.old, fields.new = team.GetName(old), team.GetName(new)
	emit("roleplay:job", "darkrp", fields)
end

-- AWarn 2 and 3 --------------------------------------------------------------------------------------------------
-- AWarn 2 passes the admin as a player (github.com/LiliaFramework/Lilia uses it, in
-- lilia/modules/compatibility/plogs/loggers/awarn2.lua), AWarn 3 as a SteamID64 (its readme lists the hooks; it is sold at
-- gmodstore.com).

local function awarn_warned(who, admin, reason)
	local fields = target(who)
	if not fields then return end
	fields.reason = isstring(reason) and reason or nil
	emit("admin:warn", "awarn", by(fields, admin))
end

-- Switches -------------------------------------------------------------------------------------------------------

-- Each adapter: its name, the global of its addon, and the hooks of the addon.
local ADAPTERS = {
	{ name = "ulx", global = "ULib", help = "Sends bans, kicks and ranks of ULX", hooks = {
		ULibPlayerBanned = ulib_banned, ULibPlayerUnBanned = ulib_unbanned, ULibPlayerKicked = ulib_kicked,
		ULibUserGroupChange = ulib_group, ULibUserRemoved = ulib_user_removed } },
	{ name = "sam", global = "sam", help = "Sends bans and ranks of SAM", hooks = {
		["SAM.BannedPlayer"] = sam_banned, ["SAM.BannedSteamID"] = sam_banned, ["SAM.UnbannedSteamID"] = sam_unbanned,
		["SAM.ChangedPlayerRank"] = sam_rank, ["SAM.ChangedSteamIDRank"] = sam_rank } },
	{ name = "serverguard", global = "serverguard", help = "Sends bans of ServerGuard", hooks = {
		["serverguard.PlayerBanned"] = serverguard_banned, ["serverguard.PlayerBannedBySteamID"] = serverguard_asked,
		["serverguard.PlayerUnbanned"] = serverguard_unbanned } },
	{ name = "cami", global = "CAMI", help = "Sends ranks of all admin addons that use CAMI", hooks = {
		["CAMI.PlayerUsergroupChanged"] = cami_rank, ["CAMI.SteamIDUsergroupChanged"] = cami_rank } },
	{ name = "darkrp", global = "DarkRP", help = "Sends money, arrests and jobs of DarkRP", hooks = {
		playerWalletChanged = darkrp_wallet, playerGaveMoney = darkrp_gave, playerDroppedMoney = darkrp_dropped,
		playerArrested = darkrp_arrested, playerUnArrested = darkrp_released, OnPlayerChangedTeam = darkrp_job } },
	{ name = "awarn", global = "AWarn", help = "Sends warnings of AWarn 2 and 3", hooks = {
		AWarnPlayerWarned = awarn_warned, AWarnPlayerIDWarned = awarn_warned } },
}

local function apply()
	local names = {}
	for _, adapter in ipairs(ADAPTERS) do
		local on = everything:GetBool() and adapter.switch:GetBool() and addon(adapter.global) ~= nil
		active[adapter.name] = on or nil
		if on then names[#names + 1] = adapter.name end
		for name, fn in pairs(adapter.hooks) do
			if on then hook.Add(name, ID, fn) else hook.Remove(name, ID) end
		end
	end
	return names
end

for _, adapter in ipairs(ADAPTERS) do
	local convar = "realtime_adapter_" .. adapter.name
	adapter.switch = CreateConVar(convar, "1", FCVAR_ARCHIVE, adapter.help, 0, 1)
	cvars.AddChangeCallback(convar, apply, ID)
end
cvars.AddChangeCallback("realtime_adapters", apply, ID)
-- At Initialize the gamemode and most addons are there, at InitPostEntity all.
hook.Add("Initialize", ID, function() apply() end)
hook.Add("InitPostEntity", ID, function()
	local names = apply()
	if everything:GetBool() then print("[realtime] adapters: " .. (#names > 0 and table.concat(names, ", ") or "none of the addons is here")) end
end)
apply()
