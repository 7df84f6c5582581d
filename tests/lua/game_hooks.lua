-- lua/autorun/server/realtime_game_hooks.lua, which the test has copied into the server: every event with its fields, the
-- convars, a reload of the file, and a map change. The calls of hooks have the arguments that the game gives them.
local shapes, checks = include("shapes.lua"), include("checks.lua")
local FILE = "autorun/server/realtime_game_hooks.lua"
local classes = shapes.read(host.arg.meta)
local events = shapes.record()
local heard = 0
realtime.On("*:*", "count", function() heard = heard + 1 end)

local CLASS_OF = {
	["player:spawn"] = "PlayerSpawn", ["player:connect"] = "PlayerConnect", ["player:disconnect"] = "PlayerDisconnect",
	["player:death"] = "PlayerDeath", ["chat:message"] = "ChatMessage", ["vehicle:spawn"] = "Vehicle",
	["vehicle:removed"] = "Vehicle", ["server:start"] = "ServerStart", ["server:shutdown"] = "ServerShutdown",
	["map:change"] = "MapChange",
}

local take, take_one = shapes.taker(events, classes, CLASS_OF)
local same = checks.same

local function hooks_now()
	local count = 0
	for _, hooks in pairs(hook.GetTable()) do
		for id in pairs(hooks) do
			if isstring(id) and id:find("^realtime_game_hooks") then count = count + 1 end
		end
	end
	return count
end

local john = host.player({ name = "John", steamid64 = "76561198000000001", userid = 11, pos = Vector(1, 2, 3), weapon = "weapon_357" })
local alice = host.player({ name = 'A{"x"}', steamid64 = "76561198000000002", userid = 12, pos = Vector(1, 2, 103), weapon = false })
local bot = host.player({ name = "Bot01", steamid64 = "90071996842377216", userid = 13, bot = true })
team.SetUp(1001, "Citizens")

local tests = {}

function tests.a_off_means_no_hooks()
	same(hooks_now(), 0)
	hook.Run("PlayerDeath", alice, john, john)
	host.game_event("player_say", { userid = 11, text = "hi", teamonly = 0 })
	take(0)
end

function tests.b_convars_are_archived_and_explained()
	local create, count = CreateConVar, 0
	function CreateConVar(name, value, flags, help, low, high)
		same(flags, FCVAR_ARCHIVE)
		assert(name:find("^realtime_hook") and #help > 10 and low == 0 and high == 1, name)
		print("convar " .. name .. " " .. value)
		count = count + 1
		return create(name, value, flags, help, low, high)
	end
	include(FILE)
	CreateConVar = create
	same(count, 12)
	RunConsoleCommand("realtime_hooks", "1")
end

function tests.c_nothing_is_doubled_by_a_reload()
	host.command("realtime_hooks 1")
	local before = hooks_now()
	assert(before > 10, before)
	include(FILE)
	same(hooks_now(), before)
	hook.Run("PlayerDeath", alice, john, john)
	take_one("player:death")
end

function tests.d_each_event_has_its_switch()
	host.command("realtime_hook_player_death 0")
	hook.Run("PlayerDeath", alice, john, john)
	take(0)
	host.command("realtime_hook_player_death 1")
	hook.Run("PlayerDeath", alice, john, john)
	take_one("player:death")
end

function tests.player_spawn()
	hook.Run("PlayerInitialSpawn", john, false)
	hook.Run("PlayerSpawn", john, false)
	hook.Run("PlayerSpawn", john, false)
	local spawns = take(2)
	same(spawns[1].data.first, true)
	same(spawns[2].data.first, false)
	local data = spawns[1].data
	same(data.steamid64 .. data.name .. data.userid .. data.team, "76561198000000001John11Citizens")
	same(data.pos.x + data.pos.y * 10 + data.pos.z * 100, 321)
	hook.Run("PlayerSpawn", bot, false)
	data = take_one("player:spawn")
	same(data.bot, true)
	same(data.steamid64, nil)
end

function tests.player_connect()
	local event = { bot = 0, networkid = "STEAM_0:1:19867136", name = "New\nName", userid = 20, index = 3, address = "203.0.113.9:27005" }
	host.game_event("player_connect", event)
	local data = take_one("player:connect")
	same(data.steamid64, "76561198000000001")
	same(data.name, "New\nName")
	same(data.ip, nil)
	host.command("realtime_hook_ip 1")
	host.game_event("player_connect", event)
	same(take_one("player:connect").ip, "203.0.113.9")
	host.game_event("player_connect", { bot = 1, networkid = "BOT", name = "Bot02", userid = 21, index = 4, address = "none" })
	data = take_one("player:connect")
	same(data.bot, true)
	same(data.ip or data.steamid64, nil)
	host.command("realtime_hook_ip 0")
end

-- The game event comes first or second; a joining player has only the game event. Each is one event.
function tests.player_disconnect()
	local function leaves(userid, name) return { bot = 0, networkid = "STEAM_0:1:19867136", name = name, userid = userid, reason = "Disconnect by user." } end
	local first = host.player({ name = "First", userid = 30 })
	host.game_event("player_disconnect", leaves(30, "First"))
	hook.Run("PlayerDisconnected", first)
	host.remove(first)
	local data = take_one("player:disconnect")
	same(data.reason, "Disconnect by user.")
	same(data.seconds, 0)
	local second = host.player({ name = "Second", userid = 31 })
	hook.Run("PlayerDisconnected", second)
	host.remove(second)
	host.game_event("player_disconnect", leaves(31, "Second"))
	data = take_one("player:disconnect")
	same(data.name, "Second")
	same(data.reason, nil)
	host.game_event("player_disconnect", leaves(32, "Joining"))
	data = take_one("player:disconnect")
	same(data.name .. data.steamid64, "Joining76561198000000001")
	same(data.seconds, nil)
	hook.Run("PlayerDisconnected", second)
	take(0)
end

function tests.player_death()
	local function dies(inflictor, attacker, victim)
		hook.Run("PlayerDeath", victim or alice, inflictor, attacker)
		return take_one("player:death")
	end
	local data = dies(john, john)
	same(data.cause .. data.killer .. data.victim .. data.weapon, 'playerJohnA{"x"}weapon_357')
	same(data.killer_steamid64 .. data.victim_steamid64, "7656119800000000176561198000000002")
	same(data.distance, 100)
	same(dies(host.entity({ class = "crossbow_bolt" }), john).weapon, "crossbow_bolt")
	data = dies(alice, alice)
	same(data.cause .. data.killer, 'suicideA{"x"}')
	same(data.weapon, nil)
	same(dies(alice, alice, bot).cause, "player")
	data = dies(john, bot)
	same(data.killer_bot, true)
	same(data.killer_steamid64, nil)
	for _, world in ipairs({ game.GetWorld(), NULL }) do
		data = dies(world, world)
		same(data.cause .. data.killer, "worldworld")
		same(data.weapon, nil)
	end
	data = dies(host.entity({ class = "npc_combine_s", weapon = "weapon_ar2" }), NULL)
	same(data.cause .. data.weapon, "worldnpc_combine_s")
	local npc = host.entity({ class = "npc_combine_s", weapon = "weapon_ar2" })
	data = dies(npc, npc)
	same(data.cause .. data.killer .. data.weapon, "npcnpc_combine_sweapon_ar2")
	local nextbot = host.entity({ class = "nextbot_zombie" })
	data = dies(nextbot, nextbot)
	same(data.cause .. data.killer, "npcnextbot_zombie")
	local prop = host.entity({ class = "prop_physics" })
	data = dies(prop, prop)
	same(data.cause .. data.killer, "entityprop_physics")
	data = dies(prop, john)
	same(data.cause .. data.killer .. data.weapon, "playerJohnprop_physics")
	local jeep = host.entity({ class = "prop_vehicle_jeep", driver = john })
	data = dies(jeep, jeep)
	same(data.cause .. data.killer .. data.weapon, "playerJohnprop_vehicle_jeep")
	data = dies(jeep, jeep, john)
	same(data.cause, "suicide")
	local left = host.player({ name = "Left" })
	jeep = host.entity({ class = "prop_vehicle_jeep", driver = left })
	host.remove(left)
	data = dies(jeep, jeep)
	same(data.cause .. data.killer, "entityprop_vehicle_jeep")
	hook.Run("PlayerDeath", left, john, john)
	take(0)
end

function tests.chat_message()
	host.game_event("player_say", { priority = 1, userid = 12, text = '{"admin":true}', teamonly = 1 })
	local data = take_one("chat:message")
	same(data.text .. data.name, '{"admin":true}A{"x"}')
	same(data.team and data.alive, true)
	host.game_event("player_say", { priority = 1, userid = 0, text = "from the console", teamonly = 0 })
	data = take_one("chat:message")
	same(data.name .. data.userid, "Console0")
	same(data.steamid64 or data.alive, nil)
	-- Nobody, or nothing.
	host.game_event("player_say", { priority = 1, userid = 999, text = "gone", teamonly = 0 })
	host.game_event("player_say", { priority = 1, userid = 11, text = "", teamonly = 0 })
	take(0)
end

-- A vehicle is announced a tick after its creation, so the second half runs in later ticks.
local later = {}
function tests.vehicles()
	local jeep = host.entity({ class = "prop_vehicle_jeep", model = "models/buggy.mdl", pos = Vector(5, 0, 0), driver = john })
	hook.Run("OnEntityCreated", jeep)
	hook.Run("OnEntityCreated", host.entity({ class = "prop_physics" }))
	hook.Run("OnEntityCreated", NULL)
	local brief = host.entity({ class = "prop_vehicle_airboat" })
	hook.Run("OnEntityCreated", brief)
	host.remove(brief)
	hook.Run("PlayerSpawnedVehicle", alice, jeep)
	take(0)
	later[1] = function()
		-- The set was turned on before the map was ready.
		local two = take(2)
		same(two[1].channel .. two[1].data.map, "server:startgm_construct")
		same(two[2].channel, "vehicle:spawn")
		local data = two[2].data
		same(data.class .. data.owner .. data.driver, 'prop_vehicle_jeepA{"x"}John')
		same(data.pos.x, 5)
		hook.Run("PlayerEnteredVehicle", john, jeep, 0)
		take(0)
		include(FILE)
		hook.Run("PlayerEnteredVehicle", john, jeep, 0)
		take(0)
		local unseen = host.entity({ class = "prop_vehicle_prisoner_pod" })
		hook.Run("PlayerEnteredVehicle", john, unseen, 0)
		take_one("vehicle:spawn")
		local driver = host.player({ name = "Driver" })
		local car = host.entity({ class = "prop_vehicle_jeep", driver = driver })
		host.remove(driver)
		hook.Run("EntityRemoved", car, false)
		same(take_one("vehicle:removed").driver, nil)
		hook.Run("EntityRemoved", jeep, false)
		data = take_one("vehicle:removed")
		same(data.owner_steamid64 .. data.driver_steamid64, "7656119800000000276561198000000001")
		hook.Run("EntityRemoved", NULL, false)
		hook.Run("EntityRemoved", host.entity({ class = "prop_physics" }), false)
		take(0)
	end
end

function tests.y_only_the_game_is_used() shapes.check_globals(FILE) end

-- The file without the module: one line, and no error.
function tests.z_without_the_module()
	local saw = checks.capture_print()
	local installed = util.IsBinaryModuleInstalled
	function util.IsBinaryModuleInstalled() return false end
	include(FILE)
	util.IsBinaryModuleInstalled = installed
	assert(saw("no realtime module"))
end

-- The first map: the tests, then a map change. The second map: its event, a server that ends, and nothing after it.
if host.map_changes() == 0 then
	if host.run_tests(tests) > 0 then return host.quit(1) end
	local ticks, sent = 0, nil
	timer.Create("later", 0, 0, function()
		ticks = ticks + 1
		if ticks == 2 then host.run_tests({ vehicles_later = later[1] }) end
		if ticks < 3 or heard < #events then return end
		timer.Remove("later")
		sent = heard
		same(sent, #events)
		host.store("first", true)
		host.changelevel("gm_second")
	end)
	-- Runs after the file's own hook, which this host calls first.
	hook.Add("ShutDown", "test", function()
		local data = take_one("server:shutdown")
		assert(data.map == "gm_construct" and data.players == 3)
		hook.Run("EntityRemoved", host.entity({ class = "prop_vehicle_jeep" }), false)
		take(0)
	end)
else
	host.command("realtime_hooks 1")
	hook.Add("InitPostEntity", "test", function()
		local data = take_one("map:change")
		same(data.old .. data.new, "gm_constructgm_second")
		print("1 passed, 0 failed")
		host.quit(0)
	end)
end
