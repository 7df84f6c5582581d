-- The file library: reads under garrysmod/, writes under data/, with the game's list of extensions for writing.

local H = debug.getregistry().host
local native = H.native
file = {}

local writable = {}
for ext in ("txt dat json xml csv dem vcd gma mdl phy vvd vtx ani vtf vmt png jpg jpeg mp3 wav ogg"):gmatch("%S+") do
    writable[ext] = true
end

local function may_write(name) return writable[(name:match("%.([^%./]+)$") or ""):lower()] == true end

local function data_path(path)
    if path == nil or path == false then return "DATA" end
    return path == true and "GAME" or path
end

function file.Read(name, path) return (native.file("read", data_path(path), name)) end
function file.Exists(name, path) return native.file("exists", data_path(path), name) == true end
function file.IsDir(name, path) return native.file("is_dir", data_path(path), name) == true end
function file.Size(name, path) return native.file("size", data_path(path), name) or -1 end
function file.Time(name, path) return native.file("time", data_path(path), name) or 0 end
function file.Write(name, data) return may_write(name) and native.file("write", "DATA", name, tostring(data)) == true end
function file.Append(name, data) return may_write(name) and native.file("append", "DATA", name, tostring(data)) == true end
function file.Delete(name) return native.file("delete", "DATA", name) == true end
function file.CreateDir(name) native.file("mkdir", "DATA", name) end
function file.Rename(from, to) return may_write(to) and native.file("rename", "DATA", from, to) == true end

function file.Find(pattern, path)
    local files, dirs = native.file("find", data_path(path), pattern)
    if not files then return {}, {} end
    local function list(text)
        return text == "" and {} or string.Explode("\0", text)
    end
    return list(files), list(dirs)
end
