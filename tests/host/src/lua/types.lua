-- Vector, Angle, Color and the game's view of types.
-- Vectors are userdata laid out as the game's (pointer, type id, three floats), so a module sees what it expects.

local H = debug.getregistry().host
local ffi, native, stock_type, getmeta = H.ffi, H.native, H.type, debug.getmetatable

ffi.cdef("typedef struct { void *data; uint8_t type; float v[3]; } host_userdata;")
local header = ffi.typeof("host_userdata *")

local type_ids = {
    none = -1, ["nil"] = 0, boolean = 1, userdata = 7, number = 3, string = 4, table = 5, ["function"] = 6, thread = 8,
    Entity = 9, Vector = 10, Angle = 11, ConVar = 27, Player = 9, Weapon = 9, NPC = 9, Vehicle = 9, NextBot = 9, Color = 255,
}
TYPE_NONE, TYPE_NIL, TYPE_BOOL, TYPE_LIGHTUSERDATA, TYPE_NUMBER, TYPE_STRING, TYPE_TABLE = -1, 0, 1, 2, 3, 4, 5
TYPE_FUNCTION, TYPE_USERDATA, TYPE_THREAD, TYPE_ENTITY, TYPE_VECTOR, TYPE_ANGLE, TYPE_CONVAR = 6, 7, 8, 9, 10, 11, 27
TYPE_COLOR = 255

-- A metatable known to the registry by its name, as the game keeps them.
function H.metatable(name)
    local meta = { MetaName = name, MetaID = type_ids[name] }
    debug.getregistry()[name] = meta
    return meta
end

function FindMetaTable(name)
    local meta = debug.getregistry()[name]
    return stock_type(meta) == "table" and meta.MetaName and meta or nil
end

-- A new userdata with this metatable.
function H.userdata(meta)
    local value = native.userdata(meta.MetaID)
    debug.setmetatable(value, meta)
    return value
end

function type(...)
    if select("#", ...) == 0 then error("bad argument #1 to 'type' (value expected)", 2) end
    local value = ...
    local name = stock_type(value)
    if name ~= "userdata" then return name end
    local meta = getmeta(value)
    return meta and meta.MetaName or name
end

local type = type

local entity_types = { Entity = true, Player = true, Weapon = true, NPC = true, Vehicle = true, NextBot = true, CSEnt = true }
function isstring(value) return stock_type(value) == "string" end
function isnumber(value) return stock_type(value) == "number" end
function istable(value) return stock_type(value) == "table" end
function isfunction(value) return stock_type(value) == "function" end
function isbool(value) return stock_type(value) == "boolean" end
function isvector(value) return type(value) == "Vector" end
function isangle(value) return type(value) == "Angle" end
function isentity(value) return entity_types[type(value)] == true end
IsEntity = isentity
function ispanel() return false end
function ismatrix() return false end

function TypeID(value)
    return IsColor(value) and 255 or type_ids[type(value)] or 7
end

-- The three-number types ---------------------------------------------------------------------------------------

local function triple(name, fields, format)
    local meta = H.metatable(name)
    local slots = { [1] = 0, [2] = 1, [3] = 2 }
    for i, field in ipairs(fields) do
        for letter in field:gmatch("%a+") do slots[letter] = i - 1 end
    end

    local function floats(value) return ffi.cast(header, value).v end

    local function is(value) return getmeta(value) == meta end

    local function new(a, b, c)
        local value = H.userdata(meta)
        local v = floats(value)
        v[0], v[1], v[2] = a or 0, b or 0, c or 0
        return value
    end

    local function same(value)
        if not is(value) then error("expected " .. name .. ", got " .. type(value), 3) end
        return floats(value)
    end

    function meta.__index(value, key)
        local slot = slots[key]
        if slot then return tonumber(floats(value)[slot]) end
        return meta[key]
    end
    function meta.__newindex(value, key, number)
        local slot = slots[key]
        if not slot then error("cannot set " .. tostring(key) .. " of a " .. name, 2) end
        floats(value)[slot] = tonumber(number) or 0
    end
    function meta.__tostring(value)
        local v = floats(value)
        return string.format(format, tonumber(v[0]), tonumber(v[1]), tonumber(v[2]))
    end
    function meta.__eq(a, b)
        if not (is(a) and is(b)) then return false end
        local x, y = floats(a), floats(b)
        return x[0] == y[0] and x[1] == y[1] and x[2] == y[2]
    end
    function meta.__add(a, b)
        local x, y = same(a), same(b)
        return new(x[0] + y[0], x[1] + y[1], x[2] + y[2])
    end
    function meta.__sub(a, b)
        local x, y = same(a), same(b)
        return new(x[0] - y[0], x[1] - y[1], x[2] - y[2])
    end
    function meta.__mul(a, b)
        if isnumber(a) then a, b = b, a end
        local x = same(a)
        if isnumber(b) then return new(x[0] * b, x[1] * b, x[2] * b) end
        local y = same(b)
        return new(x[0] * y[0], x[1] * y[1], x[2] * y[2])
    end
    function meta.__div(a, b)
        local x = same(a)
        if isnumber(b) then return new(x[0] / b, x[1] / b, x[2] / b) end
        local y = same(b)
        return new(x[0] / y[0], x[1] / y[1], x[2] / y[2])
    end
    function meta.__unm(a)
        local x = same(a)
        return new(-x[0], -x[1], -x[2])
    end
    meta.__concat = function(a, b) return tostring(a) .. tostring(b) end

    function meta:Unpack()
        local v = floats(self)
        return tonumber(v[0]), tonumber(v[1]), tonumber(v[2])
    end
    function meta:SetUnpacked(a, b, c)
        local v = floats(self)
        v[0], v[1], v[2] = a, b, c
    end
    function meta:ToTable() return { self:Unpack() } end
    function meta:IsZero() return self[1] == 0 and self[2] == 0 and self[3] == 0 end
    function meta:Zero() self:SetUnpacked(0, 0, 0) end
    function meta:Set(other) self:SetUnpacked(other:Unpack()) end
    function meta:Add(other) self:Set(self + other) end
    function meta:Sub(other) self:Set(self - other) end
    function meta:Mul(other) self:Set(self * other) end
    function meta:Div(other) self:Set(self / other) end

    -- Made from three numbers, from another value of the type, or from "x y z".
    return function(a, b, c)
        if is(a) then return new(a:Unpack()) end
        if isstring(a) and b == nil then
            local x, y, z = a:match("^%s*[%[{]?%s*(%S+)%s+(%S+)%s+([^%s%]}]+)")
            return new(tonumber(x) or 0, tonumber(y) or 0, tonumber(z) or 0)
        end
        return new(tonumber(a), tonumber(b), tonumber(c))
    end, meta
end

local vector
Vector, vector = triple("Vector", { "x r", "y g", "z b" }, "%f %f %f")
Angle = triple("Angle", { "p x pitch", "y yaw", "r z roll" }, "%.3f %.3f %.3f")
vector_origin, angle_zero = Vector(), Angle()

function vector:Dot(other) return self.x * other.x + self.y * other.y + self.z * other.z end
function vector:LengthSqr() return self:Dot(self) end
function vector:Length() return math.sqrt(self:Dot(self)) end
function vector:DistToSqr(other) return (self - other):LengthSqr() end
function vector:Distance(other) return (self - other):Length() end
function vector:Cross(o)
    return Vector(self.y * o.z - self.z * o.y, self.z * o.x - self.x * o.z, self.x * o.y - self.y * o.x)
end
function vector:GetNormalized()
    local length = self:Length()
    return length == 0 and Vector() or self / length
end
function vector:Normalize() self:Set(self:GetNormalized()) end

-- Color: a plain table with a metatable -------------------------------------------------------------------------

local color = H.metatable("Color")
color.__index = color
function color.__tostring(c) return string.format("%d %d %d %d", c.r, c.g, c.b, c.a) end
function color.__eq(a, b) return a.r == b.r and a.g == b.g and a.b == b.b and a.a == b.a end
function color:Unpack() return self.r, self.g, self.b, self.a end
function color:ToTable() return { self.r, self.g, self.b, self.a } end
function color:ToVector() return Vector(self.r / 255, self.g / 255, self.b / 255) end

function Color(r, g, b, a)
    local function channel(value) return math.min(tonumber(value) or 255, 255) end
    return setmetatable({ r = channel(r), g = channel(g), b = channel(b), a = channel(a) }, color)
end
function IsColor(value) return stock_type(value) == "table" and getmeta(value) == color end
color_white, color_black = Color(255, 255, 255), Color(0, 0, 0)
