-- Players and entities of the host.

local function same(got, wanted)
    if got ~= wanted then error(string.format("got %s, wanted %s", tostring(got), tostring(wanted)), 2) end
end
local tests = {}

function tests.a_player()
    local ply = host.player({ name = "Alice", steamid64 = "76561198012345678", userid = 7, weapon = "weapon_crossbow", job = "Medic" })
    same(type(ply), "Player")
    same(ply:Nick() .. ply:Name(), "AliceAlice")
    same(ply:SteamID64(), "76561198012345678")
    same(ply:SteamID(), "STEAM_0:0:26039975")
    same(util.SteamIDTo64(ply:SteamID()), ply:SteamID64())
    same(ply:UserID(), 7)
    same(ply:IsPlayer() and ply:IsValid() and IsValid(ply) and isentity(ply), true)
    same(ply:GetActiveWeapon():GetClass(), "weapon_crossbow")
    same(type(ply:GetActiveWeapon()), "Weapon")
    same(ply.getJob and ply:getJob(), "Medic")
    same(ply:GetClass(), "player")
    same(ply:IsSuperAdmin(), false)
    same(tostring(ply), "Player [" .. ply:EntIndex() .. "][Alice]")
    same(player.GetCount(), #player.GetAll())
    same(Player(7), ply)
    same(Entity(ply:EntIndex()), ply)
    same(player.GetBySteamID64("76561198012345678"), ply)
    ply.custom = 5
    same(ply.custom, 5)
    same(ply.getDarkRP, nil)
    ply:SetHealth(12)
    same(ply:Health(), 12)
end

function tests.gone()
    local ply = host.player({ superadmin = true })
    same(ply:IsSuperAdmin() and ply:IsAdmin(), true)
    same(ply.getJob, nil)
    local count = player.GetCount()
    host.remove(ply)
    same(player.GetCount(), count - 1)
    same(IsValid(ply), false)
    same(tostring(ply), "[NULL Entity]")
    same(pcall(ply.Nick, ply), false)
    same(type(ply), "Player")
end

function tests.an_entity()
    local ent = host.entity({ class = "prop_physics", index = 300 })
    same(ent:GetClass() .. ent:EntIndex() .. type(ent), "prop_physics300Entity")
    same(tostring(ent), "Entity [300][prop_physics]")
    same(ent:IsPlayer(), false)
    same(type(host.entity({ class = "npc_zombie" })), "NPC")
    same(#ents.FindByClass("prop_physics"), 1)
end

function tests.vehicles_npcs_bots_and_the_world()
    local driver = host.player({ name = "Driver" })
    local jeep = host.entity({ class = "prop_vehicle_jeep", driver = driver })
    same(type(jeep), "Vehicle")
    same(jeep:IsVehicle() and isentity(jeep) and not driver:IsVehicle(), true)
    same(jeep:GetDriver(), driver)
    host.remove(driver)
    same(IsValid(jeep:GetDriver()), false)
    same(host.entity({ class = "prop_vehicle_jeep" }):GetDriver(), NULL)
    same(host.entity({ class = "npc_combine_s", weapon = "weapon_ar2" }):GetActiveWeapon():GetClass(), "weapon_ar2")
    same(host.entity({ class = "nextbot_zombie" }):IsNextBot(), true)
    same(host.player({ bot = true }):IsBot(), true)
    same(host.player({}):IsBot(), false)
    local world = game.GetWorld()
    same(world:IsWorld() and not IsValid(world) and not NULL:IsWorld(), true)
    same(world:GetClass(), "worldspawn")
end

function tests.game_events()
    local heard = 0
    hook.Add("player_say", "test", function(data) heard = heard + data.userid end)
    host.game_event("player_say", { userid = 1 })
    gameevent.Listen("player_say")
    host.game_event("player_say", { userid = 10 })
    same(heard, 10)
end

function tests.null()
    same(IsValid(NULL) or IsValid(nil) or IsValid({}) or IsValid("x"), false)
    same(NULL:IsPlayer(), false)
    same(pcall(NULL.GetClass, NULL), false)
    same(Entity(9999), NULL)
end

-- As the module header reads it: a pointer to the data, then the type id.
function tests.userdata_layout()
    local ffi = host.require("ffi")
    local raw = ffi.cast("struct { float *data; uint8_t type; } *", Vector(1, 2, 3))
    same(raw.type, TYPE_VECTOR)
    same(raw.data[2], 3)
end

host.run_tests(tests)
host.quit()
