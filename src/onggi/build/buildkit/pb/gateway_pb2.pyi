from google.protobuf import timestamp_pb2 as _timestamp_pb2
from onggi.build.buildkit.pb import caps_pb2 as _caps_pb2
from onggi.build.buildkit.pb import fsutil_pb2 as _fsutil_pb2
from onggi.build.buildkit.pb import ops_pb2 as _ops_pb2
from onggi.build.buildkit.pb import status_pb2 as _status_pb2
from onggi.build.buildkit.pb import worker_pb2 as _worker_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CacheOptionsEntry(_message.Message):
    __slots__ = ["Attrs", "Type"]
    class AttrsEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ATTRS_FIELD_NUMBER: _ClassVar[int]
    Attrs: _containers.ScalarMap[str, str]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    Type: str
    def __init__(self, Type: _Optional[str] = ..., Attrs: _Optional[_Mapping[str, str]] = ...) -> None: ...

class EvaluateRequest(_message.Message):
    __slots__ = ["Ref"]
    REF_FIELD_NUMBER: _ClassVar[int]
    Ref: str
    def __init__(self, Ref: _Optional[str] = ...) -> None: ...

class EvaluateResponse(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class FileRange(_message.Message):
    __slots__ = ["Length", "Offset"]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    Length: int
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    Offset: int
    def __init__(self, Offset: _Optional[int] = ..., Length: _Optional[int] = ...) -> None: ...

class InputsRequest(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class InputsResponse(_message.Message):
    __slots__ = ["Definitions"]
    class DefinitionsEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _ops_pb2.Definition
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_ops_pb2.Definition, _Mapping]] = ...) -> None: ...
    DEFINITIONS_FIELD_NUMBER: _ClassVar[int]
    Definitions: _containers.MessageMap[str, _ops_pb2.Definition]
    def __init__(self, Definitions: _Optional[_Mapping[str, _ops_pb2.Definition]] = ...) -> None: ...

class PingRequest(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class PongResponse(_message.Message):
    __slots__ = ["FrontendAPICaps", "LLBCaps", "Workers"]
    FRONTENDAPICAPS_FIELD_NUMBER: _ClassVar[int]
    FrontendAPICaps: _containers.RepeatedCompositeFieldContainer[_caps_pb2.APICap]
    LLBCAPS_FIELD_NUMBER: _ClassVar[int]
    LLBCaps: _containers.RepeatedCompositeFieldContainer[_caps_pb2.APICap]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    Workers: _containers.RepeatedCompositeFieldContainer[_worker_pb2.WorkerRecord]
    def __init__(self, FrontendAPICaps: _Optional[_Iterable[_Union[_caps_pb2.APICap, _Mapping]]] = ..., LLBCaps: _Optional[_Iterable[_Union[_caps_pb2.APICap, _Mapping]]] = ..., Workers: _Optional[_Iterable[_Union[_worker_pb2.WorkerRecord, _Mapping]]] = ...) -> None: ...

class ReadDirRequest(_message.Message):
    __slots__ = ["DirPath", "IncludePattern", "Ref"]
    DIRPATH_FIELD_NUMBER: _ClassVar[int]
    DirPath: str
    INCLUDEPATTERN_FIELD_NUMBER: _ClassVar[int]
    IncludePattern: str
    REF_FIELD_NUMBER: _ClassVar[int]
    Ref: str
    def __init__(self, Ref: _Optional[str] = ..., DirPath: _Optional[str] = ..., IncludePattern: _Optional[str] = ...) -> None: ...

class ReadDirResponse(_message.Message):
    __slots__ = ["entries"]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[_fsutil_pb2.Stat]
    def __init__(self, entries: _Optional[_Iterable[_Union[_fsutil_pb2.Stat, _Mapping]]] = ...) -> None: ...

class ReadFileRequest(_message.Message):
    __slots__ = ["FilePath", "Range", "Ref"]
    FILEPATH_FIELD_NUMBER: _ClassVar[int]
    FilePath: str
    RANGE_FIELD_NUMBER: _ClassVar[int]
    REF_FIELD_NUMBER: _ClassVar[int]
    Range: FileRange
    Ref: str
    def __init__(self, Ref: _Optional[str] = ..., FilePath: _Optional[str] = ..., Range: _Optional[_Union[FileRange, _Mapping]] = ...) -> None: ...

class ReadFileResponse(_message.Message):
    __slots__ = ["Data"]
    DATA_FIELD_NUMBER: _ClassVar[int]
    Data: bytes
    def __init__(self, Data: _Optional[bytes] = ...) -> None: ...

class Ref(_message.Message):
    __slots__ = ["id"]
    DEF_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ..., **kwargs) -> None: ...

class RefMap(_message.Message):
    __slots__ = ["refs"]
    class RefsEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Ref
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Ref, _Mapping]] = ...) -> None: ...
    REFS_FIELD_NUMBER: _ClassVar[int]
    refs: _containers.MessageMap[str, Ref]
    def __init__(self, refs: _Optional[_Mapping[str, Ref]] = ...) -> None: ...

class RefMapDeprecated(_message.Message):
    __slots__ = ["refs"]
    class RefsEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    REFS_FIELD_NUMBER: _ClassVar[int]
    refs: _containers.ScalarMap[str, str]
    def __init__(self, refs: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ResolveImageConfigRequest(_message.Message):
    __slots__ = ["LogName", "Platform", "Ref", "ResolveMode"]
    LOGNAME_FIELD_NUMBER: _ClassVar[int]
    LogName: str
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    Platform: _ops_pb2.Platform
    REF_FIELD_NUMBER: _ClassVar[int]
    RESOLVEMODE_FIELD_NUMBER: _ClassVar[int]
    Ref: str
    ResolveMode: str
    def __init__(self, Ref: _Optional[str] = ..., Platform: _Optional[_Union[_ops_pb2.Platform, _Mapping]] = ..., ResolveMode: _Optional[str] = ..., LogName: _Optional[str] = ...) -> None: ...

class ResolveImageConfigResponse(_message.Message):
    __slots__ = ["Config", "Digest", "Ref"]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    Config: bytes
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    Digest: str
    REF_FIELD_NUMBER: _ClassVar[int]
    Ref: str
    def __init__(self, Digest: _Optional[str] = ..., Config: _Optional[bytes] = ..., Ref: _Optional[str] = ...) -> None: ...

class ResolveSourceGitResponse(_message.Message):
    __slots__ = ["Checksum", "CommitChecksum", "Ref"]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    COMMITCHECKSUM_FIELD_NUMBER: _ClassVar[int]
    Checksum: str
    CommitChecksum: str
    REF_FIELD_NUMBER: _ClassVar[int]
    Ref: str
    def __init__(self, Checksum: _Optional[str] = ..., Ref: _Optional[str] = ..., CommitChecksum: _Optional[str] = ...) -> None: ...

class ResolveSourceHTTPResponse(_message.Message):
    __slots__ = ["Checksum", "Filename", "LastModified"]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    Checksum: str
    FILENAME_FIELD_NUMBER: _ClassVar[int]
    Filename: str
    LASTMODIFIED_FIELD_NUMBER: _ClassVar[int]
    LastModified: _timestamp_pb2.Timestamp
    def __init__(self, Checksum: _Optional[str] = ..., Filename: _Optional[str] = ..., LastModified: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ResolveSourceImageRequest(_message.Message):
    __slots__ = ["NoConfig"]
    NOCONFIG_FIELD_NUMBER: _ClassVar[int]
    NoConfig: bool
    def __init__(self, NoConfig: bool = ...) -> None: ...

class ResolveSourceImageResponse(_message.Message):
    __slots__ = ["Config", "Digest"]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    Config: bytes
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    Digest: str
    def __init__(self, Digest: _Optional[str] = ..., Config: _Optional[bytes] = ...) -> None: ...

class ResolveSourceMetaRequest(_message.Message):
    __slots__ = ["Image", "LogName", "Platform", "ResolveMode", "Source"]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    Image: ResolveSourceImageRequest
    LOGNAME_FIELD_NUMBER: _ClassVar[int]
    LogName: str
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    Platform: _ops_pb2.Platform
    RESOLVEMODE_FIELD_NUMBER: _ClassVar[int]
    ResolveMode: str
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    Source: _ops_pb2.SourceOp
    def __init__(self, Source: _Optional[_Union[_ops_pb2.SourceOp, _Mapping]] = ..., Platform: _Optional[_Union[_ops_pb2.Platform, _Mapping]] = ..., LogName: _Optional[str] = ..., ResolveMode: _Optional[str] = ..., Image: _Optional[_Union[ResolveSourceImageRequest, _Mapping]] = ...) -> None: ...

class ResolveSourceMetaResponse(_message.Message):
    __slots__ = ["Git", "HTTP", "Image", "Source"]
    GIT_FIELD_NUMBER: _ClassVar[int]
    Git: ResolveSourceGitResponse
    HTTP: ResolveSourceHTTPResponse
    HTTP_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    Image: ResolveSourceImageResponse
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    Source: _ops_pb2.SourceOp
    def __init__(self, Source: _Optional[_Union[_ops_pb2.SourceOp, _Mapping]] = ..., Image: _Optional[_Union[ResolveSourceImageResponse, _Mapping]] = ..., Git: _Optional[_Union[ResolveSourceGitResponse, _Mapping]] = ..., HTTP: _Optional[_Union[ResolveSourceHTTPResponse, _Mapping]] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ["metadata", "ref", "refDeprecated", "refs", "refsDeprecated"]
    class MetadataEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    METADATA_FIELD_NUMBER: _ClassVar[int]
    REFDEPRECATED_FIELD_NUMBER: _ClassVar[int]
    REFSDEPRECATED_FIELD_NUMBER: _ClassVar[int]
    REFS_FIELD_NUMBER: _ClassVar[int]
    REF_FIELD_NUMBER: _ClassVar[int]
    metadata: _containers.ScalarMap[str, bytes]
    ref: Ref
    refDeprecated: str
    refs: RefMap
    refsDeprecated: RefMapDeprecated
    def __init__(self, refDeprecated: _Optional[str] = ..., refsDeprecated: _Optional[_Union[RefMapDeprecated, _Mapping]] = ..., ref: _Optional[_Union[Ref, _Mapping]] = ..., refs: _Optional[_Union[RefMap, _Mapping]] = ..., metadata: _Optional[_Mapping[str, bytes]] = ...) -> None: ...

class ReturnRequest(_message.Message):
    __slots__ = ["error", "result"]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    error: _status_pb2.Status
    result: Result
    def __init__(self, result: _Optional[_Union[Result, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class ReturnResponse(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class SolveRequest(_message.Message):
    __slots__ = ["CacheImports", "Definition", "Evaluate", "Final", "Frontend", "FrontendInputs", "FrontendOpt", "allowResultArrayRef", "allowResultReturn"]
    class FrontendInputsEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _ops_pb2.Definition
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_ops_pb2.Definition, _Mapping]] = ...) -> None: ...
    class FrontendOptEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ALLOWRESULTARRAYREF_FIELD_NUMBER: _ClassVar[int]
    ALLOWRESULTRETURN_FIELD_NUMBER: _ClassVar[int]
    CACHEIMPORTS_FIELD_NUMBER: _ClassVar[int]
    CacheImports: _containers.RepeatedCompositeFieldContainer[CacheOptionsEntry]
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    Definition: _ops_pb2.Definition
    EVALUATE_FIELD_NUMBER: _ClassVar[int]
    Evaluate: bool
    FINAL_FIELD_NUMBER: _ClassVar[int]
    FRONTENDINPUTS_FIELD_NUMBER: _ClassVar[int]
    FRONTENDOPT_FIELD_NUMBER: _ClassVar[int]
    FRONTEND_FIELD_NUMBER: _ClassVar[int]
    Final: bool
    Frontend: str
    FrontendInputs: _containers.MessageMap[str, _ops_pb2.Definition]
    FrontendOpt: _containers.ScalarMap[str, str]
    allowResultArrayRef: bool
    allowResultReturn: bool
    def __init__(self, Definition: _Optional[_Union[_ops_pb2.Definition, _Mapping]] = ..., Frontend: _Optional[str] = ..., FrontendOpt: _Optional[_Mapping[str, str]] = ..., allowResultReturn: bool = ..., allowResultArrayRef: bool = ..., Final: bool = ..., CacheImports: _Optional[_Iterable[_Union[CacheOptionsEntry, _Mapping]]] = ..., FrontendInputs: _Optional[_Mapping[str, _ops_pb2.Definition]] = ..., Evaluate: bool = ...) -> None: ...

class SolveResponse(_message.Message):
    __slots__ = ["ref", "result"]
    REF_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ref: str
    result: Result
    def __init__(self, ref: _Optional[str] = ..., result: _Optional[_Union[Result, _Mapping]] = ...) -> None: ...

class StatFileRequest(_message.Message):
    __slots__ = ["Path", "Ref"]
    PATH_FIELD_NUMBER: _ClassVar[int]
    Path: str
    REF_FIELD_NUMBER: _ClassVar[int]
    Ref: str
    def __init__(self, Ref: _Optional[str] = ..., Path: _Optional[str] = ...) -> None: ...

class StatFileResponse(_message.Message):
    __slots__ = ["stat"]
    STAT_FIELD_NUMBER: _ClassVar[int]
    stat: _fsutil_pb2.Stat
    def __init__(self, stat: _Optional[_Union[_fsutil_pb2.Stat, _Mapping]] = ...) -> None: ...

class WarnRequest(_message.Message):
    __slots__ = ["detail", "digest", "info", "level", "ranges", "short", "url"]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    SHORT_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    detail: _containers.RepeatedScalarFieldContainer[bytes]
    digest: str
    info: _ops_pb2.SourceInfo
    level: int
    ranges: _containers.RepeatedCompositeFieldContainer[_ops_pb2.Range]
    short: bytes
    url: str
    def __init__(self, digest: _Optional[str] = ..., level: _Optional[int] = ..., short: _Optional[bytes] = ..., detail: _Optional[_Iterable[bytes]] = ..., url: _Optional[str] = ..., info: _Optional[_Union[_ops_pb2.SourceInfo, _Mapping]] = ..., ranges: _Optional[_Iterable[_Union[_ops_pb2.Range, _Mapping]]] = ...) -> None: ...

class WarnResponse(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...
