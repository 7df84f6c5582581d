-- Entities and players: userdata with the game's metatables over plain Lua tables. There is no world behind them.
-- The host makes them (host.player, host.entity); scripts use them as usual.

local H = debug.getregistry().host
local ffi = H.ffi

-- The facts of each entity, by its userdata.
local data = setmetatable({}, { __mode = "k" })
local by_index, players = {}, {}
local last_userid = 1

local entity = H.metatable("Entity")

local function valid(self)
    local own = data[self]
    return own ~= nil and own.valid
end

-- The facts of a live entity. A removed entity raises an error, as in the game.
local function facts(self, field)
    local own = data[self]
    if not own or not own.valid then error("Tried to use a NULL entity!", 3) end
    return own[field]
end

local function class(name, base)
    local meta = base and H.metatable(name) or entity
    meta.MetaBaseClass = base
    function meta.__index(self, key)
        local method = meta[key]
        if method == nil and base then method = base[key] end
        if method ~= nil then return method end
        local own = data[self]
        return own and own.fields[key]
    end
    function meta.__newindex(self, key, value)
        local own = data[self]
        if not own or not own.valid then error("Tried to use a NULL entity!", 2) end
        own.fields[key] = value
    end
    function meta.__tostring(self)
        local own = data[self]
        if not own or not own.valid then return "[NULL Entity]" end
        return string.format("%s [%d][%s]", name, own.index, own.name or own.class)
    end
    meta.__concat = function(a, b) return tostring(a) .. tostring(b) end
    return meta
end

class("Entity")
local player_meta, weapon_meta, npc_meta = class("Player", entity), class("Weapon", entity), class("NPC", entity)
local vehicle_meta, nextbot_meta = class("Vehicle", entity), class("NextBot", entity)

function entity:IsValid() return valid(self) end
function entity:IsPlayer() return debug.getmetatable(self) == player_meta end
function entity:IsNPC() return debug.getmetatable(self) == npc_meta end
function entity:IsWeapon() return debug.getmetatable(self) == weapon_meta end
function entity:IsVehicle() return debug.getmetatable(self) == vehicle_meta end
function entity:IsNextBot() return debug.getmetatable(self) == nextbot_meta end
-- The world is an entity that is not valid.
function entity:IsWorld() return data[self] ~= nil and data[self].world == true end
function entity:EntIndex() return valid(self) and data[self].index or 0 end
function entity:GetClass()
    if self:IsWorld() then return "worldspawn" end
    return facts(self, "class")
end
function entity:GetModel() return facts(self, "model") end
function entity:GetPos() return Vector(facts(self, "pos")) end
function entity:SetPos(pos) facts(self, "pos"):Set(pos) end
function entity:GetAngles() return Angle(facts(self, "angles")) end
function entity:Health() return facts(self, "health") end
function entity:SetHealth(health) facts(self, "class") data[self].health = health end
function entity:GetTable() return data[self] and data[self].fields end
function entity:GetOwner() return NULL end
function entity:Remove() facts(self, "class") H.remove(self) end

function vehicle_meta:GetDriver() return facts(self, "driver") or NULL end

local steam_base = 76561197960265728ULL

local function account(steamid64)
    local id = 0ULL
    for digit in tostring(steamid64):gmatch("%d") do id = id * 10 + tonumber(digit) end
    return tonumber(id - steam_base)
end

util = util or {}
function util.SteamIDFrom64(steamid64)
    local id = account(steamid64)
    return string.format("STEAM_0:%d:%d", id % 2, math.floor(id / 2))
end
function util.SteamIDTo64(steamid)
    local y, z = steamid:match("^STEAM_%d:(%d):(%d+)$")
    if not y then return "0" end
    return (tostring(steam_base + ffi.cast("uint64_t", tonumber(z) * 2 + tonumber(y))):gsub("ULL$", ""))
end

function player_meta:Nick() return facts(self, "name") end
player_meta.Name, player_meta.GetName = player_meta.Nick, player_meta.Nick
function player_meta:SteamID64() return facts(self, "steamid64") end
function player_meta:SteamID() return util.SteamIDFrom64(facts(self, "steamid64")) end
function player_meta:AccountID() return account(facts(self, "steamid64")) end
function player_meta:UserID() return facts(self, "userid") end
function player_meta:GetActiveWeapon() return facts(self, "weapon") end
npc_meta.GetActiveWeapon = player_meta.GetActiveWeapon
function player_meta:IsSuperAdmin() return facts(self, "group") == "superadmin" end
function player_meta:IsAdmin() return self:IsSuperAdmin() or facts(self, "group") == "admin" end
function player_meta:GetUserGroup() return facts(self, "group") end
function player_meta:IsUserGroup(group) return facts(self, "group") == group end
function player_meta:IsBot() return facts(self, "bot") == true end
function player_meta:TimeConnected() return H.native.mono() - facts(self, "joined") end
function player_meta:Alive() return facts(self, "health") > 0 end
function player_meta:Team() return facts(self, "team") end
function player_meta:Ping() return 0 end
function player_meta:Frags() return 0 end
function player_meta:Deaths() return 0 end
function player_meta:IPAddress() return "127.0.0.1:27005" end
function player_meta:ChatPrint(text) MsgN(text) end
function player_meta:PrintMessage(kind, text) MsgN(text) end
function player_meta:Kick() facts(self, "class") H.remove(self) end

local function make(meta, own)
    own.valid = true
    own.fields = own.fields or {}
    own.pos, own.angles = own.pos or Vector(), own.angles or Angle()
    local self = H.userdata(meta)
    data[self] = own
    if own.index then by_index[own.index] = self end
    return self
end

local function free_index(from)
    while by_index[from] do from = from + 1 end
    return from
end

-- The metatable for a class name, as far as it is known.
local function meta_for(name)
    return name:find("^weapon_") and weapon_meta or name:find("^npc_") and npc_meta
        or name:find("^prop_vehicle_") and vehicle_meta or name:find("^nextbot_") and nextbot_meta or entity
end

function H.entity(spec)
    local name = spec.class or "prop_physics"
    local own = {
        class = name, index = spec.index or free_index(128), health = spec.health or 0, model = spec.model or "", pos = spec.pos,
        driver = spec.driver, weapon = spec.weapon and H.entity({ class = spec.weapon }) or NULL,
    }
    return make(meta_for(name), own)
end

function H.player(spec)
    last_userid = spec.userid or last_userid + 1
    local index = spec.index or free_index(1)
    local own = {
        class = "player", index = index, userid = last_userid, name = spec.name or ("Player" .. index),
        steamid64 = tostring(spec.steamid64 or string.format("765611980000%05d", index)), health = spec.health or 100,
        model = spec.model or "models/player/kleiner.mdl", group = spec.group or "user", team = spec.team or 1001, pos = spec.pos,
        bot = spec.bot, joined = H.native.mono(),
    }
    if spec.superadmin then own.group = "superadmin" end
    own.weapon = spec.weapon == false and NULL or H.entity({ class = spec.weapon or "weapon_physgun" })
    -- A method of DarkRP, for tests that want that gamemode.
    if spec.job then own.fields = { getJob = function() return spec.job end, getDarkRPVar = function() return spec.job end } end
    local self = make(player_meta, own)
    for key, value in pairs(spec.methods or {}) do own.fields = own.fields or {} own.fields[key] = value end
    players[#players + 1] = self
    return self
end

function H.remove(self)
    local own = data[self]
    if not own or not own.valid then return end
    own.valid = false
    by_index[own.index] = nil
    for i, ply in ipairs(players) do
        if ply == self then table.remove(players, i) break end
    end
end

NULL = H.userdata(entity)
local world = H.userdata(entity)
data[world] = { world = true, valid = false, index = 0, class = "worldspawn" }
function H.world() return world end

function IsValid(object)
    if not object then return false end
    local kind = H.type(object)
    if kind ~= "table" and kind ~= "userdata" then return false end
    local method = object.IsValid
    return method ~= nil and method(object) or false
end

function Entity(index) return by_index[index] or NULL end
function Player(userid)
    for _, ply in ipairs(players) do
        if ply:UserID() == userid then return ply end
    end
    return NULL
end

player, ents = {}, {}
function player.GetAll()
    local copy = {}
    for i, ply in ipairs(players) do copy[i] = ply end
    return copy
end
player.GetHumans = player.GetAll
function player.GetBots() return {} end
function player.GetCount() return #players end
function player.Iterator() return ipairs(player.GetAll()) end
function player.GetBySteamID64(id)
    for _, ply in ipairs(players) do
        if ply:SteamID64() == tostring(id) then return ply end
    end
    return false
end
function player.GetBySteamID(id) return player.GetBySteamID64(util.SteamIDTo64(id)) end
function player.GetByID(index) return Entity(index) end

function ents.GetAll()
    local all = {}
    for _, ent in pairs(by_index) do all[#all + 1] = ent end
    table.sort(all, function(a, b) return a:EntIndex() < b:EntIndex() end)
    return all
end
function ents.GetByIndex(index) return Entity(index) end
function ents.FindByClass(name)
    local found = {}
    for _, ent in ipairs(ents.GetAll()) do
        if ent:GetClass() == name then found[#found + 1] = ent end
    end
    return found
end
