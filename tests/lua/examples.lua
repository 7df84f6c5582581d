-- The files of lua/examples, one in each server: the test has copied it to autorun, as its card says, and changed only its
-- constants (a webhook of this machine, short intervals). `host.arg.example` names it; with two servers, `host.arg.role` says
-- whether this one acts or watches.
local shapes = include("shapes.lua")
local example, role = host.arg.example, host.arg.role
local file = "autorun/server/" .. example .. ".lua"
shapes.check_globals(file)
-- As the game does after an edit. Nothing may happen twice afterwards.
include(file)

local john = host.player({ name = "John", steamid64 = "76561198000000001" })
local alice = host.player({ name = "Alice", steamid64 = "76561198000000002", superadmin = true })

-- What players read.
local said = {}
function PrintMessage(_, text) said[#said + 1] = text end
FindMetaTable("Player").ChatPrint = function(ply, text) said[#said + 1] = ply:Nick() .. " reads " .. text end
local function was_said(text)
	for _, line in ipairs(said) do
		if line:find(text, 1, true) then return true end
	end
	return false
end

local kicked = {}
function game.KickID(id, reason) kicked[#kicked + 1] = id .. " " .. reason end

local function kill(victim, attacker) hook.Run("PlayerDeath", victim, attacker:GetActiveWeapon(), attacker) end

-- The records of a log, or none while it does not exist. A busy machine must not make the reader fail.
assert(realtime.Configure({ sync_timeout_ms = 1000 }))
local function log(path) return realtime.ReadEventLog(path) or {} end

-- Each example: `begin` runs once connected, `done` in every tick until it returns true.
local examples = {}

examples.economy_discord = {
	begin = function()
		hook.Call("playerWalletChanged", GAMEMODE, john, 150000, 1000)
		hook.Call("playerWalletChanged", GAMEMODE, john, -500, 151000)
	end,
	done = function()
		local sums = log("logs/economy.log")
		local payments, earned, spent = 0, 0, 0
		for _, record in ipairs(sums) do
			payments, earned, spent = payments + record.data.payments, earned + record.data.earned, spent + record.data.spent
		end
		return payments == 2 and earned == 150000 and spent == 500 and realtime.Stats().webhooks.delivered == 1
	end,
}

-- Kills in later ticks, because the tournament starts when its event has come back.
local kills = 0
examples.tournament = {
	begin = function() host.command("tournament start") end,
	done = function()
		if kills < 500 and not was_said("Tournament: 1. John ") then
			kills = kills + 1
			kill(alice, john)
		end
		kill(john, john)
		return was_said("Tournament: 1. John ") and not was_said("Alice")
	end,
}

examples.anticheat = {
	begin = function()
		for _ = 1, 8 do kill(alice, john) end
		for _ = 1, 8 do kill(john, john) end
	end,
	done = function()
		local reports = log("logs/anticheat.log")
		if #reports == 0 or #said == 0 then return false end
		assert(#reports == 1 and #said == 1, #reports .. " reports")
		return was_said("Alice reads [Garry's Mod] John (76561198000000001): too many kills too fast, ")
	end,
}

examples.network_kills = {
	begin = function()
		if role == "acts" then for _ = 1, 3 do kill(alice, john) end end
	end,
	done = function()
		if role == "acts" then
			local map = realtime.GetLeaderboard("network:kills", 5)
			return map and map.John == 3 and #said == 0
		end
		return #said == 3 and was_said("[one] John killed Alice")
	end,
}

examples.top_killer = {
	begin = function()
		for _ = 1, 3 do kill(alice, john) end
		kill(john, alice)
	end,
	done = function()
		hook.Run("PlayerSay", alice, "!TOP", false)
		hook.Run("PlayerSay", john, "hello", false)
		return was_said("Alice reads 1. John: 3") and was_said("Alice reads 2. Alice: 1") and not was_said("John reads")
	end,
}

examples.crossbow_shot = {
	begin = function()
		local bolt = host.entity({ class = "crossbow_bolt" })
		for _, hp in ipairs({ 100, 19, 20, 3 }) do
			alice:SetHealth(hp)
			hook.Run("EntityTakeDamage", alice, {})
			hook.Run("EntityTakeDamage", host.entity({ class = "prop_physics" }), {})
			alice:SetHealth(0)
			hook.Run("PlayerDeath", alice, bolt, john)
		end
		hook.Run("PlayerDeath", alice, john:GetActiveWeapon(), john)
	end,
	done = function() return realtime.Stats().webhooks.delivered == 2 and realtime.Get("crossbow_kills:daily") == "2" end,
}

examples.minute_stats = {
	begin = function()
		for _ = 1, 3 do hook.Run("PlayerDeath", alice, john, john) end
		hook.Run("PlayerDeath", alice, game.GetWorld(), game.GetWorld())
	end,
	done = function()
		local deaths, total = 0, 0
		for _, record in ipairs(log("logs/minute_stats.log")) do
			deaths, total = deaths + record.data.deaths, total + record.data.total_kills
			if record.data.total_kills > 0 then
				assert(record.data.top_killer == "John" and record.data.top_weapon == "weapon_physgun" and record.data.unique_killers == 1)
			end
		end
		return deaths == 4 and total == 3
	end,
}

examples.batch_archive = {
	begin = function()
		for _ = 1, 3 do kill(alice, john) end
	end,
	done = function()
		local batches = log("logs/kill_archive.log")
		if #batches == 0 then return false end
		assert(#batches == 1 and #batches[1].data.kills == 3 and batches[1].data.kills[3].victim == "Alice")
		return true
	end,
}

examples.cross_server_chat = {
	begin = function()
		if role ~= "acts" then return end
		local function say(text, team) host.game_event("player_say", { priority = 1, userid = john:UserID(), text = text, teamonly = team }) end
		say("only for us", 1)
		say("hello\nthere " .. string.rep("é", 200), 0)
		say("last", 0)
	end,
	done = function()
		if role == "acts" then return realtime.Stats().inbox.delivered >= 3 and #said == 0 end
		if not was_said("[one] John: last") then return false end
		assert(#said == 2, said[1])
		local start, rest = "[one] John: hello there é", said[1]:sub(-5)
		assert(said[1]:sub(1, #start) == start and rest == "é..." and #said[1] < 255, said[1])
		return true
	end,
}

examples.discord_chat = {
	begin = function()
		local function say(text, team) host.game_event("player_say", { priority = 1, userid = john:UserID(), text = text, teamonly = team }) end
		say("only for us", 1)
		say("*hello* @everyone", 0)
	end,
	done = function() return realtime.Stats().webhooks.delivered == 1 end,
}

-- The server that watches has the player; later somebody with the ban joins it.
local joined
examples.shared_bans = {
	begin = function()
		ULib.bans["STEAM_0:1:19867136"] = {}
		local now = os.time()
		if role == "acts" then
			local function ban(steamid, minutes)
				local row = { time = now, unban = minutes > 0 and now + minutes * 60 or 0, reason = "rdm", name = "John", admin = "(Console)" }
				hook.Call("ULibPlayerBanned", nil, steamid, row)
			end
			ban("STEAM_0:1:19867136", 60)
			ban("STEAM_0:1:500", 0)
			ban("STEAM_0:1:501", 0)
			hook.Call("ULibPlayerUnBanned", nil, "STEAM_0:1:501", nil)
		end
	end,
	done = function()
		local forever, lifted = realtime.GetTable("shared_ban:76561197960266729"), realtime.GetTable("shared_ban:76561197960266731")
		local timed = realtime.GetTable("shared_ban:76561198000000001")
		local kept = forever and timed and forever.reason == "rdm" and timed.server == "one" and lifted == nil
		if role == "acts" then return kept and realtime.Stats().inbox.delivered >= 4 and #kicked == 0 end
		if not kept or #kicked < 3 then return false end
		if not joined then
			joined = true
			assert(kicked[1] == "STEAM_0:1:19867136 Banned on one: rdm", kicked[1])
			local function join(networkid, bot)
				host.game_event("player_connect", { bot = bot, networkid = networkid, name = "x", userid = 50, index = 5, address = "none" })
			end
			join("BOT", 1)
			join("STEAM_0:1:501", 0)
			join("STEAM_0:1:500", 0)
		end
		if #kicked < 4 then return false end
		assert(kicked[4] == "STEAM_0:1:500 Banned on one: rdm", kicked[4])
		return true
	end,
}

-- What the standard events and adapters need.
if example == "economy_discord" then DarkRP = {} end
if example == "shared_bans" then ULib = { bans = {} } end
host.command("realtime_hooks 1")
host.command("realtime_adapters 1")

local ready, begun = false, false
local deadline = host.mono() + 60
hook.Add("RealtimeConnected", "test", function() ready = true end)
timer.Create("check", 0, 0, function()
	if not ready then return end
	if not begun then
		begun = true
		print("ready")
		examples[example].begin()
	end
	local ran, done = pcall(examples[example].done)
	if ran and not done and host.mono() < deadline then return end
	print(done == true and "1 passed, 0 failed" or "0 passed, 1 failed: " .. tostring(done) .. "\n" .. table.concat(said, "\n"))
	host.quit(done == true and 0 or 1)
end)
