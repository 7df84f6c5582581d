-- lua/autorun/server/realtime_adapters.lua, which the test has copied into the server. The addons are small tables that call
-- their real hooks with the real arguments; the file names the source of each. They appear after the file was loaded, as
-- addons do that load later.
local shapes, checks = include("shapes.lua"), include("checks.lua")
local FILE = "autorun/server/realtime_adapters.lua"
local classes = shapes.read(host.arg.meta)
local events = shapes.record()
local heard = 0
realtime.On("*:*", "count", function() heard = heard + 1 end)

local CLASS_OF = {
	["admin:ban"] = "Ban", ["admin:unban"] = "Unban", ["admin:kick"] = "Kick", ["admin:warn"] = "Warn", ["admin:rank"] = "Rank",
	["economy:money"] = "Money", ["economy:transfer"] = "Transfer", ["economy:drop"] = "Drop", ["roleplay:arrest"] = "Arrest",
	["roleplay:release"] = "Release", ["roleplay:job"] = "Job",
}

local take, take_one = shapes.taker(events, classes, CLASS_OF)
local same = checks.same

local JOHN, ALICE, AWAY = "STEAM_0:1:19867136", "STEAM_0:0:19867137", "STEAM_0:1:500"
local JOHN64, ALICE64, AWAY64 = "76561198000000001", "76561198000000002", "76561197960266729"
same(util.SteamIDTo64(JOHN) .. util.SteamIDTo64(ALICE) .. util.SteamIDTo64(AWAY), JOHN64 .. ALICE64 .. AWAY64)
local john = host.player({ name = "John", steamid64 = JOHN64 })
local alice = host.player({ name = "Alice", steamid64 = ALICE64 })
local bot = host.player({ name = "Bot01", steamid64 = "90071996842377216", bot = true })

-- Fake addons ----------------------------------------------------------------------------------------------------

local fake = {}

-- As ULib.addBan and ULib.unban do: the row first, then a kick of the player, then the hook.
function fake.ulib_ban(steamid, minutes, reason, name, admin)
	local row, now = ULib.bans[steamid], os.time()
	if row then row.modified_admin, row.modified_time = admin, now else row = { admin = admin, time = now } end
	row.unban, row.reason, row.name, row.steamID = minutes > 0 and now + minutes * 60 or 0, reason, name, steamid
	ULib.bans[steamid] = row
	if player.GetBySteamID(steamid) then hook.Call("ULibPlayerKicked", nil, steamid, "Banned for ...", nil) end
	hook.Call("ULibPlayerBanned", nil, steamid, row)
end
function fake.ulib_unban(steamid, admin)
	ULib.bans[steamid] = nil
	hook.Call("ULibPlayerUnBanned", nil, steamid, admin)
end
-- As ucl.addUser: CAMI first, then the hook. CAMI's listeners come first in this server, as they may in the game.
function fake.ulib_group(steamid, new, old, from_cami)
	local ply = player.GetBySteamID(steamid)
	if not from_cami then
		if ply then hook.Call("CAMI.PlayerUsergroupChanged", nil, ply, old, new or "user", "ULX")
		else hook.Call("CAMI.SteamIDUsergroupChanged", nil, steamid, old, new or "user", "ULX") end
	end
	hook.Call("ULibUserGroupChange", nil, steamid, {}, {}, new, old)
end

function fake.sam_rank(ply, new, old, expiry)
	hook.Call("SAM.ChangedPlayerRank", nil, ply, new, old, expiry)
	-- SAM's own CAMI bridge listens to its hook; other addons hear CAMI and report the change again.
	hook.Call("CAMI.PlayerUsergroupChanged", nil, ply, old, new, "SAM")
	fake.ulib_group(ply:SteamID(), new, old, true)
end

-- As serverguard:BanPlayer: asks the hook, checks immunity, then writes the row.
function fake.serverguard_ban(who, minutes, reason, admin, allowed)
	local ply = isentity(who) and who or nil
	local steamid = ply and ply:SteamID() or who
	if ply then
		if hook.Call("serverguard.PlayerBanned", nil, ply, minutes, reason, admin) then return end
	elseif hook.Call("serverguard.PlayerBannedBySteamID", nil, steamid, minutes, reason, admin, "Old Name") then return end
	if not allowed then return end
	local now = os.time()
	serverguard.banTable[steamid] = {
		player = ply and ply:Name() or "Old Name", reason = reason, startTime = now, endTime = minutes > 0 and now + minutes * 60 or 0,
		admin = admin:IsValid() and string.format("%s [%s]", admin:Name(), admin:SteamID()) or "Console",
	}
end

local function hooks_now()
	local count = 0
	for _, hooks in pairs(hook.GetTable()) do
		if hooks.realtime_adapters then count = count + 1 end
	end
	return count
end

-- Tests ----------------------------------------------------------------------------------------------------------

local tests = {}

function tests.a_convars_are_archived_and_explained()
	local create = CreateConVar
	function CreateConVar(name, value, flags, help, low, high)
		same(flags, FCVAR_ARCHIVE)
		assert(#help > 10 and low == 0 and high == 1, name)
		print("convar " .. name .. " " .. value)
		return create(name, value, flags, help, low, high)
	end
	include(FILE)
	CreateConVar = create
	-- Initialize and InitPostEntity.
	same(hooks_now(), 2)
end

function tests.b_an_adapter_needs_its_addon_and_its_switch()
	host.command("realtime_adapters 1")
	same(hooks_now(), 2)
	ULib = { bans = {} }
	hook.Run("Initialize")
	same(hooks_now(), 7)
	sam, CAMI, DarkRP, AWarn = {}, {}, { hooks = {} }, {}
	serverguard = { banTable = {} }
	hook.Run("InitPostEntity")
	local all = hooks_now()
	same(all, 2 + 5 + 5 + 3 + 2 + 6 + 2)
	include(FILE)
	same(hooks_now(), all)
	host.command("realtime_adapter_ulx 0")
	same(hooks_now(), all - 5)
	fake.ulib_ban(JOHN, 5, "off", "John", "(Console)")
	take(0)
	host.command("realtime_adapter_ulx 1")
	ULib.bans = {}
end

function tests.ulx()
	fake.ulib_ban(JOHN, 60, "rdm", "John", "Alice(" .. ALICE .. ")")
	local data = take_one("admin:ban")
	same(data.source .. data.steamid64 .. data.name .. data.reason, "ulx" .. JOHN64 .. "Johnrdm")
	same(data.admin .. data.admin_steamid64 .. data.duration, "Alice" .. ALICE64 .. "3600")
	-- A changed ban has another admin and counts from now.
	ULib.bans[JOHN].time = os.time() - 5000
	fake.ulib_ban(JOHN, 2, "rdm", "John", "(Console)")
	data = take_one("admin:ban")
	same(data.admin .. data.duration, "Console120")
	same(data.admin_steamid64, nil)
	fake.ulib_ban(AWAY, 0, nil, nil, nil)
	data = take_one("admin:ban")
	same(data.steamid64 .. data.duration, AWAY64 .. "0")
	same(data.name or data.reason, nil)
	fake.ulib_unban(AWAY, alice)
	same(take_one("admin:unban").admin, "Alice")
	fake.ulib_unban(JOHN, nil)
	same(take_one("admin:unban").admin, "Console")
	hook.Call("ULibPlayerKicked", nil, JOHN, "afk", alice)
	data = take_one("admin:kick")
	same(data.name .. data.reason .. data.admin, "JohnafkAlice")
	hook.Call("ULibPlayerKicked", nil, JOHN, "afk", NULL)
	same(take_one("admin:kick").admin, "Console")
	-- A player whose name looks like an admin of ULib.
	fake.ulib_ban(AWAY, 1, "x", "x", "Eve(" .. JOHN .. ")(" .. ALICE .. ")")
	data = take_one("admin:ban")
	same(data.admin_steamid64, ALICE64)
	fake.ulib_ban(AWAY, 1, "x", "x", "(" .. ALICE .. ")")
	same(take_one("admin:ban").admin, ALICE64)
	-- A script may name itself.
	fake.ulib_ban(AWAY, 1, "x", "x", "AutoBan")
	data = take_one("admin:ban")
	same(data.admin, "AutoBan")
	same(data.admin_steamid64, nil)
	fake.ulib_unban(AWAY)
	take(1)
end

function tests.ranks_are_told_once()
	fake.ulib_group(JOHN, "admin", "user")
	local data = take_one("admin:rank")
	same(data.source .. data.name .. data.old .. data.new, "ulxJohnuseradmin")
	fake.ulib_group(JOHN, "user", "admin")
	fake.ulib_group(JOHN, "admin", "user")
	take(2)
	fake.ulib_group(AWAY, "vip", nil)
	data = take_one("admin:rank")
	same(data.steamid64 .. data.old, AWAY64 .. "user")
	hook.Call("ULibUserRemoved", nil, AWAY, { group = "vip" })
	same(take_one("admin:rank").new, "user")
	-- ULib also knows users by address.
	hook.Call("ULibUserGroupChange", nil, "192.0.2.1", {}, {}, "admin", nil)
	take(0)
	fake.sam_rank(alice, "mod", "user", os.time() + 600)
	data = take_one("admin:rank")
	same(data.source .. data.new, "sammod")
	assert(data.duration >= 599 and data.duration <= 600, data.duration)
	hook.Call("SAM.ChangedSteamIDRank", nil, AWAY, "mod", "user", 0, true)
	same(take_one("admin:rank").duration, 0)
	-- An addon without an adapter, an old CAMI that names no origin, and ULX with its adapter off.
	hook.Call("CAMI.PlayerUsergroupChanged", nil, alice, "mod", "owner", "Lilia")
	same(take_one("admin:rank").source, "cami")
	hook.Call("CAMI.PlayerUsergroupChanged", nil, alice, "owner", "user")
	hook.Call("ULibUserGroupChange", nil, ALICE, {}, {}, "user", "owner")
	same(take_one("admin:rank").source, "cami")
	host.command("realtime_adapter_ulx 0")
	fake.ulib_group(ALICE, "vip", "user")
	same(take_one("admin:rank").source, "cami")
	host.command("realtime_adapter_ulx 1")
	hook.Call("CAMI.PlayerUsergroupChanged", nil, bot, "user", "admin", "Lilia")
	data = take_one("admin:rank")
	same(data.name, "Bot01")
	same(data.steamid64, nil)
end

function tests.sam()
	hook.Call("SAM.BannedPlayer", nil, john, os.time() + 3600, "rdm", ALICE)
	local data = take_one("admin:ban")
	same(data.source .. data.name .. data.admin .. data.admin_steamid64, "samJohnAlice" .. ALICE64)
	assert(data.duration >= 3599 and data.duration <= 3600)
	hook.Call("SAM.BannedSteamID", nil, AWAY, 0, "rdm", "Console")
	data = take_one("admin:ban")
	same(data.steamid64 .. data.admin .. data.duration, AWAY64 .. "Console0")
	hook.Call("SAM.UnbannedSteamID", nil, AWAY, "Console")
	same(take_one("admin:unban").admin, "Console")
	hook.Call("SAM.UnbannedSteamID", nil, AWAY, "STEAM_0:1:777")
	same(take_one("admin:unban").admin, "76561197960267283")
end

function tests.darkrp()
	take(0)
	hook.Call("playerWalletChanged", GAMEMODE, john, -150.5, 1000)
	local data = take_one("economy:money")
	same(data.change, -151)
	same(data.old + data.new, 1849)
	hook.Call("playerGaveMoney", nil, john, alice, 150)
	data = take_one("economy:transfer")
	same(data.from .. data.to_steamid64 .. data.amount, "John" .. ALICE64 .. "150")
	hook.Call("playerDroppedMoney", nil, john, 20, host.entity({ class = "spawned_money" }))
	same(take_one("economy:drop").amount, 20)
	hook.Call("playerArrested", DarkRP.hooks, john, 120, alice)
	data = take_one("roleplay:arrest")
	same(data.officer .. data.duration, "Alice120")
	hook.Call("playerUnArrested", DarkRP.hooks, john, nil)
	same(take_one("roleplay:release").officer, nil)
	team.SetUp(1, "Citizen")
	team.SetUp(2, "Mayor")
	hook.Call("OnPlayerChangedTeam", GAMEMODE, john, 1, 2)
	data = take_one("roleplay:job")
	same(data.old .. data.new, "CitizenMayor")
	-- Gone in the meantime.
	hook.Call("playerGaveMoney", nil, john, NULL, 150)
	hook.Call("playerWalletChanged", GAMEMODE, NULL, 1, 1)
	take(0)
end

function tests.warnings()
	hook.Call("AWarnPlayerWarned", GAMEMODE, john, alice, "rude")
	local data = take_one("admin:warn")
	same(data.name .. data.admin .. data.reason, "JohnAlicerude")
	hook.Call("AWarnPlayerWarned", nil, john, ALICE64, "rude")
	same(take_one("admin:warn").admin, "Alice")
	hook.Call("AWarnPlayerIDWarned", nil, AWAY64, "[CONSOLE]", "rude")
	data = take_one("admin:warn")
	same(data.steamid64 .. data.admin, AWAY64 .. "Console")
	hook.Call("AWarnPlayerWarned", GAMEMODE, john, NULL, nil)
	same(take_one("admin:warn").admin, "Console")
end

-- ServerGuard's bans are told in the next tick, if there was a ban.
local later = {}
function tests.serverguard()
	fake.serverguard_ban(john, 60, "refused", alice, false)
	fake.serverguard_ban(alice, 60, "rdm", john, true)
	fake.serverguard_ban(AWAY, 0, "rdm", NULL, true)
	take(0)
	hook.Call("serverguard.PlayerUnbanned", nil, JOHN, nil)
	same(take_one("admin:unban").admin, "Console")
	later[1] = function()
		local bans = take(2)
		local data = bans[1].data
		same(data.name .. data.admin .. data.admin_steamid64 .. data.duration, "AliceJohn" .. JOHN64 .. "3600")
		data = bans[2].data
		same(data.steamid64 .. data.name .. data.admin .. data.duration, AWAY64 .. "Old NameConsole0")
		same(data.source, "serverguard")
	end
end

function tests.z_only_the_game_is_used()
	ULib, sam, CAMI, DarkRP, AWarn, serverguard = nil, nil, nil, nil, nil, nil
	shapes.check_globals(FILE)
end

if host.run_tests(tests) > 0 then return host.quit(1) end
local ticks = 0
timer.Create("later", 0, 0, function()
	ticks = ticks + 1
	if ticks == 2 then host.run_tests({ serverguard_later = later[1] }) end
	if ticks < 3 or heard < #events then return end
	same(heard, #events)
	print("1 passed, 0 failed")
	host.quit(0)
end)
