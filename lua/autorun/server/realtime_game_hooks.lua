-- Standard events: sends the usual happenings of the game as events of `realtime`, so that other servers, hooks (Discord,
-- counters, event logs) and other programs get them without a script of your own.
--
-- Copy to:  garrysmod/lua/autorun/server/realtime_game_hooks.lua
-- Set:      realtime_hooks 1      turns the set on; it is off at first
--           realtime_hook_<event> 0     turns one of them off
--           realtime_hook_ip 1    adds the address of a player to player:connect
--           The game saves all of them (in cfg/server.vdf) at a map change and when the server ends.
-- Channels: player:spawn, player:connect, player:disconnect, player:death, chat:message, vehicle:spawn, vehicle:removed,
--           server:start, server:shutdown, map:change. The README and lua/realtime_meta.lua list the fields of each.
--
-- An event costs one Emit. What is off has no hook in the game and costs nothing. Nothing runs every tick.
-- Names, chat and reasons are what players typed: they are values of fields here, never a channel, a key or a format.

if not util.IsBinaryModuleInstalled("realtime") then
	print("[realtime] standard events: garrysmod/lua/bin has no realtime module for this server, so nothing is sent")
	return
end
require("realtime")

local ID = "realtime_game_hooks"
-- The map and the process that saw it, for the event map:change.
local STATE_FILE = "realtime/game_hooks.json"

local everything = CreateConVar("realtime_hooks", "0", FCVAR_ARCHIVE, "Sends standard events of the game through realtime", 0, 1)
local with_ip = CreateConVar("realtime_hook_ip", "0", FCVAR_ARCHIVE, "Adds the player's IP address to player:connect", 0, 1)

-- Set by ShutDown. Afterwards entities are removed one by one, which is no news.
local closing = false

local function emit(channel, fields)
	if closing then return end
	fields.time, fields.server = os.time(), GetHostName()
	realtime.Emit(channel, fields)
end

-- Descriptions ---------------------------------------------------------------------------------------------------

local function position(ent)
	local pos = ent:GetPos()
	return { x = pos.x, y = pos.y, z = pos.z }
end

-- A bot has an invented SteamID64, or none.
local function steamid64_of(ply)
	local id = not ply:IsBot() and ply:SteamID64()
	return isstring(id) and id ~= "0" and id or nil
end

-- The SteamID64 of a game event's `networkid`: "STEAM_0:1:2"; "BOT" and others have none.
local function steamid64_from(networkid)
	local id = isstring(networkid) and networkid:find("^STEAM_") and util.SteamIDTo64(networkid)
	return isstring(id) and id ~= "0" and id or nil
end

local function player_fields(ply)
	return { steamid64 = steamid64_of(ply), name = ply:Nick(), userid = ply:UserID(), bot = ply:IsBot() }
end

-- The same for a player who has no entity (yet).
local function connection_fields(data)
	local bot = tonumber(data.bot) == 1
	return { steamid64 = not bot and steamid64_from(data.networkid) or nil, name = data.name, userid = data.userid, bot = bot }
end

local function is_player(value) return isentity(value) and value:IsValid() and value:IsPlayer() end

-- Players --------------------------------------------------------------------------------------------------------

-- The user ids of players whose first spawn is still to come.
local first_spawn = {}

local function player_initial_spawn(ply)
	if ply:IsValid() then first_spawn[ply:UserID()] = true end
end

local function player_spawn(ply)
	if not ply:IsValid() then return end
	local fields = player_fields(ply)
	fields.first = first_spawn[fields.userid] == true
	first_spawn[fields.userid] = nil
	fields.team, fields.pos = team.GetName(ply:Team()), position(ply)
	emit("player:spawn", fields)
end

local function player_connect(data)
	local fields = connection_fields(data)
	if with_ip:GetBool() then fields.ip = tostring(data.address):match("^%d+%.%d+%.%d+%.%d+") end
	emit("player:connect", fields)
end

-- The game tells it twice: by the game event `player_disconnect`, which knows the reason and also comes for a player who
-- was still joining, and by the hook `PlayerDisconnected`. The first of them is sent. This table has the user ids whose
-- second call is still to come.
local left = {}

local function player_disconnect(data)
	if left[data.userid] then
		left[data.userid] = nil
		return
	end
	local ply, fields = Player(data.userid), connection_fields(data)
	fields.reason = data.reason
	if ply:IsValid() then
		left[data.userid] = true
		fields.seconds = math.floor(ply:TimeConnected())
	end
	first_spawn[data.userid] = nil
	emit("player:disconnect", fields)
end

local function player_disconnected(ply)
	if not ply:IsValid() then return end
	local userid = ply:UserID()
	if left[userid] then
		left[userid] = nil
		return
	end
	left[userid], first_spawn[userid] = true, nil
	local fields = player_fields(ply)
	fields.seconds = math.floor(ply:TimeConnected())
	emit("player:disconnect", fields)
end

-- The class of the thing that killed. A bullet's inflictor is its shooter, so the weapon in hand counts.
local function weapon_of(inflictor, attacker)
	if IsValid(inflictor) and inflictor ~= attacker then return inflictor:GetClass() end
	if IsValid(attacker) and (attacker:IsPlayer() or attacker:IsNPC()) then
		local weapon = attacker:GetActiveWeapon()
		return IsValid(weapon) and weapon:GetClass() or nil
	end
end

local function player_death(victim, inflictor, attacker)
	if not victim:IsValid() then return end
	-- Who is run over dies by the vehicle, but the driver killed. A driver who leaves is NULL already.
	local weapon
	if IsValid(attacker) and attacker:IsVehicle() then
		weapon = attacker:GetClass()
		local driver = attacker:GetDriver()
		if is_player(driver) then attacker = driver end
	end
	local fields = {
		victim = victim:Nick(), victim_steamid64 = steamid64_of(victim), victim_bot = victim:IsBot(), victim_pos = position(victim),
		weapon = weapon or weapon_of(inflictor, attacker),
	}
	if attacker == victim then
		fields.cause, fields.killer = "suicide", fields.victim
		fields.killer_steamid64, fields.killer_bot = fields.victim_steamid64, fields.victim_bot
	elseif is_player(attacker) then
		fields.cause, fields.killer = "player", attacker:Nick()
		fields.killer_steamid64, fields.killer_bot = steamid64_of(attacker), attacker:IsBot()
		fields.killer_pos = position(attacker)
		fields.distance = math.floor(attacker:GetPos():Distance(victim:GetPos()) + 0.5)
	elseif IsValid(attacker) and (attacker:IsNPC() or attacker:IsNextBot()) then
		fields.cause, fields.killer = "npc", attacker:GetClass()
	elseif IsValid(attacker) then
		fields.cause, fields.killer = "entity", attacker:GetClass()
	else
		-- The world is not valid for IsValid; neither is an attacker that is gone.
		fields.cause, fields.killer = "world", "world"
	end
	emit("player:death", fields)
end

-- The game event comes after PlayerSay, so it has the line that players see, and none for a chat command that an addon
-- swallowed. User id 0 is the server console.
local function player_say(data)
	local ply = Player(data.userid)
	local fields = ply:IsValid() and player_fields(ply) or { name = "Console", userid = 0, bot = false }
	if fields.userid == 0 and data.userid ~= 0 or data.text == "" then return end
	fields.text, fields.team = data.text, tonumber(data.teamonly) == 1
	if ply:IsValid() then fields.alive = ply:Alive() end
	emit("chat:message", fields)
end

-- Vehicles -------------------------------------------------------------------------------------------------------

-- Spawned in this tick. The game calls OnEntityCreated before an entity has its class, place and owner.
local fresh = {}

-- What is known of an owner is noted on the entity, because the player may be gone when the vehicle is removed.
local function note_owner(vehicle, ply)
	vehicle.RealtimeOwner = { name = ply:Nick(), steamid64 = steamid64_of(ply) }
end

local function vehicle_fields(vehicle)
	-- CPPI is the common interface of prop protections.
	local cppi = vehicle.CPPIGetOwner and vehicle:CPPIGetOwner()
	if is_player(cppi) then note_owner(vehicle, cppi) end
	local owner, driver = vehicle.RealtimeOwner or {}, vehicle:GetDriver()
	local fields = {
		class = vehicle:GetClass(), model = vehicle:GetModel() or "", index = vehicle:EntIndex(), pos = position(vehicle),
		owner = owner.name, owner_steamid64 = owner.steamid64,
	}
	if is_player(driver) then fields.driver, fields.driver_steamid64 = driver:Nick(), steamid64_of(driver) end
	return fields
end

local function announce(vehicle)
	if not IsValid(vehicle) or vehicle.RealtimeAnnounced then return end
	vehicle.RealtimeAnnounced = true
	emit("vehicle:spawn", vehicle_fields(vehicle))
end

local function announce_fresh()
	local vehicles = fresh
	fresh = {}
	for _, vehicle in ipairs(vehicles) do announce(vehicle) end
end

local function entity_created(ent)
	if not ent:IsValid() or not ent:IsVehicle() then return end
	fresh[#fresh + 1] = ent
	-- Named and with delay 0, so that it also fires while the server hibernates.
	timer.Create(ID, 0, 1, announce_fresh)
end

local function spawned_vehicle(ply, vehicle)
	if is_player(ply) and IsValid(vehicle) then note_owner(vehicle, ply) end
end

-- A vehicle that was not seen at its creation is announced when it is used for the first time. A seat of a vehicle that
-- is no vehicle for the game (LVS, Simfphys, Glide) is a vehicle of its own.
local function entered_vehicle(_, vehicle)
	if IsValid(vehicle) and vehicle:IsVehicle() then announce(vehicle) end
end

local function entity_removed(ent)
	if closing or not ent:IsValid() or not ent:IsVehicle() then return end
	emit("vehicle:removed", vehicle_fields(ent))
end

-- The server -----------------------------------------------------------------------------------------------------

-- SysTime counts from the start of the process, so this is nearly the same number at the end of a map and at the start of
-- the next: os.time is rounded, and the clock may be corrected. If it is set by more, a map change is taken for a start.
local function process_started() return math.floor(os.time() - SysTime() + 0.5) end
local SAME_PROCESS_S_MAX = 3

-- The map that this process had before, or nil if it has just started. Files are the only memory over a map change.
local function previous_map()
	local state = util.JSONToTable(file.Read(STATE_FILE, "DATA") or "")
	local started = state and tonumber(state.started)
	if not started or math.abs(started - process_started()) > SAME_PROCESS_S_MAX then return nil end
	return state.map
end

local previous = previous_map()

local function server_started()
	if previous then return end
	emit("server:start", {
		map = game.GetMap(), gamemode = engine.ActiveGamemode(), port = GetConVar("hostport"):GetInt(), max_players = game.MaxPlayers(),
	})
end

local function map_changed()
	if previous then emit("map:change", { old = previous, new = game.GetMap(), gamemode = engine.ActiveGamemode() }) end
end

local function remember_map()
	file.CreateDir("realtime")
	-- As text, because the game's JSON has rounded large numbers.
	file.Write(STATE_FILE, util.TableToJSON({ map = game.GetMap(), started = tostring(process_started()) }))
end

local shutdown_switch = CreateConVar("realtime_hook_server_shutdown", "1", FCVAR_ARCHIVE, "Sends server:shutdown", 0, 1)

-- Runs whenever the set is on, because a start and a map change are told apart by the file. One hook does it all, because
-- the game promises no order of hooks, and nothing may be sent afterwards.
local function lua_ends()
	if shutdown_switch:GetBool() then
		emit("server:shutdown", { map = game.GetMap(), players = player.GetCount(), uptime = math.floor(SysTime()) })
	end
	remember_map()
	closing = true
end

-- Switches -------------------------------------------------------------------------------------------------------

-- Each event: its convar, its help text and the hooks behind it. `game_events` are hooks that need gameevent.Listen.
local EVENTS = {
	{ convar = "realtime_hook_player_spawn", help = "Sends player:spawn",
		hooks = { PlayerInitialSpawn = player_initial_spawn, PlayerSpawn = player_spawn } },
	{ convar = "realtime_hook_player_connect", help = "Sends player:connect", game_events = { player_connect = player_connect } },
	{ convar = "realtime_hook_player_disconnect", help = "Sends player:disconnect",
		hooks = { PlayerDisconnected = player_disconnected }, game_events = { player_disconnect = player_disconnect } },
	{ convar = "realtime_hook_player_death", help = "Sends player:death", hooks = { PlayerDeath = player_death } },
	{ convar = "realtime_hook_chat_message", help = "Sends chat:message", game_events = { player_say = player_say } },
	{ convar = "realtime_hook_vehicle_spawn", help = "Sends vehicle:spawn", hooks = {
		OnEntityCreated = entity_created, PlayerSpawnedVehicle = spawned_vehicle, PlayerEnteredVehicle = entered_vehicle } },
	{ convar = "realtime_hook_vehicle_removed", help = "Sends vehicle:removed", hooks = {
		EntityRemoved = entity_removed, PlayerSpawnedVehicle = spawned_vehicle } },
	{ convar = "realtime_hook_server_start", help = "Sends server:start", hooks = { InitPostEntity = server_started } },
	{ convar = "realtime_hook_map_change", help = "Sends map:change", hooks = { InitPostEntity = map_changed } },
}

local function switch(name, id, fn, on)
	if on then hook.Add(name, id, fn) else hook.Remove(name, id) end
end

local function apply()
	for _, event in ipairs(EVENTS) do
		local on, id = everything:GetBool() and event.switch:GetBool(), ID .. event.convar
		for name, fn in pairs(event.hooks or {}) do switch(name, id, fn, on) end
		for name, fn in pairs(event.game_events or {}) do
			if on then gameevent.Listen(name) end
			switch(name, id, fn, on)
		end
	end
	switch("ShutDown", ID, lua_ends, everything:GetBool())
end

for _, event in ipairs(EVENTS) do
	event.switch = CreateConVar(event.convar, "1", FCVAR_ARCHIVE, event.help, 0, 1)
	cvars.AddChangeCallback(event.convar, apply, ID)
end
cvars.AddChangeCallback("realtime_hooks", apply, ID)
apply()
